#include "runtime/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <vector>

#include "core/sys.h"
#include "runtime/json.h"
#include "runtime/print.h"
#include "runtime/state.h"

namespace gantry {
namespace {

struct Log {
  std::string path;
  bool json = false;
  std::vector<std::string> warnings;
};

Log& TheLog() {
  static Log log;
  return log;
}

void Append(const char* level, const std::string& message) {
  const Log& log = TheLog();
  if (log.path.empty()) return;
  const std::string time = Rfc3339Now();
  const std::string text = log.json ? "{\"level\":\"" + std::string(level) + "\",\"msg\":" + QuoteJson(message) +
                                          ",\"time\":\"" + time + "\"}\n"
                                    : "time=\"" + time + "\" level=" + level + " msg=" + QuoteJson(message) + "\n";
  const UniqueFd file(::open(log.path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (file.get() < 0 || ::write(file.get(), text.data(), text.size()) < 0) {
    PrintError("gantry-runtime: cannot write the log " + log.path + "\n");
  }
}

void Print(const std::string& warning) { PrintError("warning: " + warning + "\n"); }

}  // namespace

void LogTo(const std::string& path, bool json) {
  TheLog().path = path;
  TheLog().json = json;
}

void Warn(const std::string& message) {
  if (TheLog().path.empty()) return Print(message);
  TheLog().warnings.push_back(message);
}

void LogSuccess() {
  for (const std::string& warning : TheLog().warnings) Append("warning", warning);
}

void LogFailure(const std::string& who, const std::string& message) {
  for (const std::string& warning : TheLog().warnings) Print(warning);
  PrintError(who + ": " + message + "\n");
  Append("error", message);
}

}  // namespace gantry
