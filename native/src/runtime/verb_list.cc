// What is there: list, ps.
#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string_view>

#include "runtime/cgroup.h"
#include "runtime/files.h"
#include "runtime/pipe.h"
#include "runtime/print.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

struct Listed {
  State state;
  Status status;
};

std::vector<Listed> ListContainers(const std::string& root) {
  std::vector<std::string> ids;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(root.c_str()), ::closedir);
  if (!listing && errno != ENOENT) throw SysError(errno, "list " + root);
  while (listing) {
    const dirent* entry = ::readdir(listing.get());
    if (entry == nullptr) break;
    if (entry->d_name[0] != '.') ids.emplace_back(entry->d_name);
  }
  std::ranges::sort(ids);
  std::vector<Listed> listed;
  for (const std::string& id : ids) {
    try {
      const StateDirectory directory = StateDirectory::Open(root, id);
      const auto state = directory.Read();
      if (state && state->pid != 0) listed.push_back({*state, directory.FindPaused(state)});
    } catch (const std::exception&) {
      // It went while we looked, or is no container: neither is the caller's trouble.
    }
  }
  return listed;
}

void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += row[i] + (i + 1 == row.size() ? "\n" : std::string(widths[i] - row[i].size() + 3, ' '));
    }
  }
  PrintOut(text);
}

/// Cuts off the first line, without its end.
std::string_view TakeLine(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

/// Cuts off the first word of a line; empty at its end.
std::string_view TakeWord(std::string_view& line) {
  line.remove_prefix(std::min(line.size(), line.find_first_not_of(' ')));
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

/// What the host's ps says, of these processes only.
void PrintProcesses(const std::vector<int>& pids, const std::vector<std::string>& options) {
  Pipe output;
  std::vector<std::string> words = {"ps"};
  if (options.empty()) words.emplace_back("-ef");
  words.insert(words.end(), options.begin(), options.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = checked("start ps", [] { return ::fork(); });
  if (child == 0) {
    ::dup2(output.write.get(), 1);
    ::execvp("ps", argv.data());
    ::_exit(127);
  }
  output.write = UniqueFd();
  const std::string text = ReadAll(output.read.get(), 16U << 20, "what ps says");
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) throw StateError("ps cannot be run on this host, or refuses its options");
  std::string_view lines = text;
  const std::string_view header = TakeLine(lines);
  std::string_view rest = header;
  int column = 0;
  std::string_view word = TakeWord(rest);
  for (; !word.empty() && word != "PID"; word = TakeWord(rest)) ++column;
  if (word.empty()) throw UsageError("ps: its output must have a column PID");
  std::string shown = std::string(header) + "\n";
  while (!lines.empty()) {
    const std::string_view line = TakeLine(lines);
    rest = line;
    for (int i = 0; i <= column; ++i) word = TakeWord(rest);
    const bool ours = std::ranges::any_of(pids, [&](int pid) { return std::to_string(pid) == word; });
    if (ours) shown += std::string(line) + "\n";
  }
  PrintOut(shown);
}

}  // namespace

int ListVerb(const CommandLine& line) {
  if (!line.arguments.empty()) throw UsageError("list takes no arguments");
  const auto containers = ListContainers(line.root);
  if (line.quiet) {
    for (const Listed& each : containers) PrintOut(each.state.id + "\n");
  } else if (line.format == "json") {
    std::string text;
    for (const Listed& each : containers) text += (text.empty() ? "" : ",") + PrintState(each.state, each.status);
    PrintOut("[" + text + "]\n");
  } else {
    std::vector<std::vector<std::string>> rows = {{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}};
    for (const auto& [state, status] : containers) {
      const std::string pid = status == Status::kStopped ? "0" : std::to_string(state.pid);
      rows.push_back({state.id, pid, StatusName(status), state.bundle, state.created, "root"});
    }
    PrintTable(rows);
  }
  return 0;
}

int PsVerb(const CommandLine& line) {
  if (line.arguments.empty()) throw UsageError("ps needs the container's ID");
  const StateDirectory directory = StateDirectory::Open(line.root, line.arguments[0]);
  const auto state = directory.Read();
  const std::vector<int> pids = state ? CgroupMembers(state->cgroups) : std::vector<int>();
  if (line.format == "json") {
    std::string text;
    for (const int pid : pids) text += (text.empty() ? "" : ",") + std::to_string(pid);
    PrintOut("[" + text + "]\n");
  } else {
    PrintProcesses(pids, {line.arguments.begin() + 1, line.arguments.end()});
  }
  return 0;
}

}  // namespace gantry
