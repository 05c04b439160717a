#include "runtime/starter.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sys.h"
#include "runtime/files.h"
#include "runtime/json.h"

namespace gantry {
namespace {

constexpr int kStarter = 3;
constexpr int kNotFound = 127;
constexpr int kCannotStart = 126;

bool Says(const std::string& message, const char* words) { return message.find(words) != std::string::npos; }

/// Whoever is gone, or never was one to be told, needs no answer.
void Tell(const std::string& text) {
  ::send(kStarter, text.data(), text.size(), MSG_NOSIGNAL);
  ::close(kStarter);
}

}  // namespace

std::string HearStarter() {
  checked("find the starter on descriptor 3", [] { return ::fcntl(kStarter, F_SETFD, FD_CLOEXEC); });
  return ReadAll(kStarter, kMaxJsonBytes, "the process from descriptor 3");
}

void TellLeft() { Tell("l"); }

int TellFailure(const std::string& message) {
  Tell("f" + message);
  const bool missing = Says(message, "executable file not found") || Says(message, "no such file or directory") ||
                       Says(message, "not a directory");
  return missing && !Says(message, "chdir to cwd") ? kNotFound : kCannotStart;
}

}  // namespace gantry
