#include "runtime/process_plan.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/console.h"
#include "runtime/files.h"
#include "runtime/json.h"

namespace gantry {
namespace {

std::vector<std::string> FindPrograms(const ProcessConfig& process) {
  const std::string& name = process.args[0];
  if (name.find('/') != std::string::npos) return {name};
  std::string path = "/bin:/usr/bin";
  for (const std::string& variable : process.env) {
    if (variable.starts_with("PATH=")) path = variable.substr(5);
  }
  std::vector<std::string> programs;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find(':', start), path.size());
    if (end > start) programs.push_back(path.substr(start, end - start) + "/" + name);  // "" would mean the cwd: no
    start = end + 1;
  }
  return programs;
}

}  // namespace

namespace {

bool HasAppArmor() {
  try {
    return ReadFile("/sys/module/apparmor/parameters/enabled", 16).starts_with('Y');
  } catch (const SysError&) {
    return false;  // not in this kernel
  }
}

}  // namespace

void PrepareProcess(ProcessPlan& plan, ProcessConfig& config, const Config& container) {
  plan.config = &config;
  plan.programs = FindPrograms(config);
  for (std::string& argument : config.args) plan.argv.push_back(argument.data());
  plan.argv.push_back(nullptr);
  plan.personality = container.personality;
  plan.memory_policy = container.memory_policy;
  if (container.seccomp) plan.seccomp = PrepareSeccomp(*container.seccomp);
  if (!config.apparmor_profile.empty()) {
    if (!HasAppArmor()) throw ConfigError("process.apparmorProfile: AppArmor is not enabled on this host");
    plan.apparmor = "exec " + config.apparmor_profile;
  }
  for (std::string& variable : config.env) plan.envp.push_back(variable.data());
  plan.envp.push_back(nullptr);
}

void PrepareConsole(ProcessPlan& plan, int devpts) {
  const ProcessConfig& process = *plan.config;
  Console console = OpenConsole(devpts);
  checked("give the terminal to the user", [&] { return ::fchown(console.peer.get(), process.uid, -1); });
  plan.console_master = std::move(console.master);
  plan.console = std::move(console.peer);
  SetConsoleSize(plan);
}

void SetConsoleSize(const ProcessPlan& plan) {
  const ProcessConfig& process = *plan.config;
  const int master = plan.console_master.get();
  CopyConsoleSize(master);  // before the program starts, so that it never sees another
  if (process.rows != 0 || process.columns != 0) ResizeConsole(master, process.rows, process.columns);
}

std::optional<std::string> DescribeProcess(const ProcessConfig& process, const Report& report) {
  const std::string text = ErrorText(report.error);
  switch (report.step) {
    case Step::kExec: {
      const std::string& program = process.args[0];
      const bool searched = program.find('/') == std::string::npos;
      if (report.error == ENOENT && searched)
        return "exec: " + QuoteJson(program) + ": executable file not found in $PATH";
      // What exec(2) itself says of a directory, and what podman searches for; and which it is.
      if (report.error == EISDIR) return "exec: " + QuoteJson(program) + ": permission denied: it " + text;
      return "exec: " + QuoteJson(program) + ": " + text;
    }
    case Step::kAppArmor:
      return "apply process.apparmorProfile " + QuoteJson(process.apparmor_profile) + ": " + text +
             (report.error == ENOENT ? " (no such profile is loaded: see aa-status)" : "");
    case Step::kScheduler:
    case Step::kCgroup:
      // A group of version 1 has no real time that its maker did not give it.
      if (!process.scheduling.scheduler || (report.error != EPERM && report.error != EINVAL)) return std::nullopt;
      return "set process.scheduler: " + text +
             " (a real-time policy needs linux.resources.cpu.realtimeRuntime on cgroup version 1, and CAP_SYS_NICE)";
    case Step::kRlimit:
      return "set process.rlimits[" + std::to_string(report.index) + "]: " + text;
    case Step::kWorkingDirectory:
      return "chdir to cwd (" + QuoteJson(process.cwd) + ") set in config.json failed: " + text;
    default:
      return std::nullopt;
  }
}

void CloseChildEnds(ProcessPlan& plan) {
  plan.status = UniqueFd();
  plan.go = UniqueFd();
  plan.start_fifo = UniqueFd();
  plan.exec_fifo = UniqueFd();
  plan.console = UniqueFd();
}

}  // namespace gantry
