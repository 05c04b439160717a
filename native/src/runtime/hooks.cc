#include "runtime/hooks.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "runtime/hook_conversation.h"
#include "runtime/log.h"
#include "runtime/process_child.h"
#include "runtime/report.h"

namespace gantry {
namespace {

constexpr int kNotStarted = 127;

std::vector<HookConfig> ParseList(const Field& field) {
  std::vector<HookConfig> hooks;
  for (const Field& item : field.Items()) {
    HookConfig hook{.path = item["path"].String(),
                    .args = item["args"].Strings(),
                    .env = item["env"].Strings(),
                    .timeout_seconds = std::nullopt};
    if (!hook.path.starts_with('/')) item["path"].Refuse("must be an absolute path");
    if (hook.args.empty()) hook.args.push_back(hook.path);
    if (item["timeout"].Present()) hook.timeout_seconds = static_cast<int>(item["timeout"].Integer(1, 86400));
    hooks.push_back(std::move(hook));
  }
  return hooks;
}

/// Ends as the child does.
[[noreturn]] void Follow(pid_t child) noexcept {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    ::kill(::getpid(), WTERMSIG(status));
    ::_exit(128 + WTERMSIG(status));
  }
  ::_exit(WEXITSTATUS(status));
}

/// Between fork and exec: system calls only.
[[noreturn]] void Become(const char* path, char** argv, char** envp, int input, int output,
                         const Inside& inside) noexcept {
  ::setpgid(0, 0);
  ResetSignals();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0) ::_exit(kNotStarted);
  if (inside.types != 0 && ::setns(inside.pidfd, static_cast<int>(inside.types)) != 0) ::_exit(kNotStarted);
  ::syscall(SYS_close_range, 3U, ~0U, 0);  // before anybody waits in here who would keep our end of the pipes open
  if (inside.types != 0) {
    if ((inside.types & CLONE_NEWUSER) != 0 &&
        (::syscall(SYS_setgroups, 0, nullptr) != 0 || ::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0)) {
      ::_exit(kNotStarted);
    }
    // A pid namespace is only for those who are born after joining it.
    if ((inside.types & CLONE_NEWPID) != 0) {
      const pid_t child = ::fork();
      if (child < 0) ::_exit(kNotStarted);
      if (child > 0) Follow(child);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    }
  }
  ::umask(0022);
  ::execve(path, argv, envp);
  const char* reason = ::strerrordesc_np(errno);
  [[maybe_unused]] const auto told = ::write(2, reason, ::strlen(reason));
  ::_exit(kNotStarted);
}

/// A hook's process, which ends with this object, and takes along what it started.
class HookProcess {
 public:
  HookProcess(const HookConfig& hook, int input, int output, const Inside& inside) {
    std::vector<char*> argv;
    std::vector<char*> envp;
    for (const std::string& word : hook.args) argv.push_back(const_cast<char*>(word.c_str()));
    for (const std::string& word : hook.env) envp.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    pid_ = checked("start a hook", [] { return ::fork(); });
    if (pid_ == 0) Become(hook.path.c_str(), argv.data(), envp.data(), input, output, inside);
    ::setpgid(pid_, pid_);  // both of us do, so that it is so whoever comes first
    pidfd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  }
  ~HookProcess() {
    if (reaped_) return;
    ::kill(-pid_, SIGKILL);
    Wait();
  }
  HookProcess(const HookProcess&) = delete;
  HookProcess& operator=(const HookProcess&) = delete;

  int pidfd() const { return pidfd_.get(); }
  int Wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    reaped_ = true;
    return status;
  }

 private:
  pid_t pid_;
  UniqueFd pidfd_;
  bool reaped_ = false;
};

/// Nothing, or why it failed.
std::optional<std::string> RunHook(const HookConfig& hook, const std::string& state, const Inside& inside) {
  Pipe input;
  Pipe output;
  HookProcess process(hook, input.read.get(), output.write.get(), inside);
  input.read = UniqueFd();
  output.write = UniqueFd();
  HookConversation conversation(process.pidfd(), std::move(input.write), std::move(output.read), state,
                                hook.timeout_seconds);
  const bool in_time = conversation.Await();
  const int status = in_time ? process.Wait() : 0;
  auto failure =
      HookFailure(in_time, WIFSIGNALED(status), WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), hook);
  if (failure) *failure += conversation.Said();
  return failure;
}

std::string Name(const char* kind, std::size_t index, const HookConfig& hook) {
  return std::string(kind) + " hook #" + std::to_string(index) + " (" + hook.path + ")";
}

}  // namespace

Hooks ParseHooks(const Field& field) {
  return {.prestart = ParseList(field["prestart"]),
          .create_runtime = ParseList(field["createRuntime"]),
          .create_container = ParseList(field["createContainer"]),
          .start_container = ParseList(field["startContainer"]),
          .poststart = ParseList(field["poststart"]),
          .poststop = ParseList(field["poststop"])};
}

std::optional<std::string> HookFailure(bool in_time, bool signaled, int value, const HookConfig& hook) {
  if (!in_time) return "timed out after " + std::to_string(hook.timeout_seconds.value_or(0)) + " s";
  if (signaled) return "signal: " + std::to_string(value);
  if (value != 0) return "exit status " + std::to_string(value);
  return std::nullopt;
}

void RunHooks(const std::vector<HookConfig>& hooks, const char* kind, const std::string& state, const Inside& inside) {
  for (std::size_t i = 0; i < hooks.size(); ++i) {
    if (const auto failure = RunHook(hooks[i], state, inside)) {
      throw HookError("error running " + Name(kind, i, hooks[i]) + ": " + *failure);
    }
  }
}

void RunPoststop(const std::vector<HookConfig>& hooks, const std::string& state) {
  for (std::size_t i = 0; i < hooks.size(); ++i) {
    std::string failure;
    try {
      failure = RunHook(hooks[i], state, {}).value_or("");
    } catch (const SysError& error) {
      failure = Explain(error);
    }
    if (!failure.empty()) Warn(Name("poststop", i, hooks[i]) + ": " + failure);
  }
}

}  // namespace gantry
