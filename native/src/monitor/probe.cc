#include "monitor/probe.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>

#include "runtime/exec.h"
#include "runtime/pipe.h"
#include "runtime/process_child.h"
#include "runtime/report.h"
#include "runtime/state.h"

namespace gantry {
namespace {

constexpr std::size_t kMostOutput = 4096;  // as docker keeps

int RunCommand(const std::string& state_root, const std::string& id, const std::vector<std::string>& command) {
  const StateDirectory directory = StateDirectory::Open(state_root, id);
  const State state = FindExecTarget(directory, false);
  auto plan = std::make_unique<ExecPlan>();
  plan->config = ParseConfig(directory.ReadConfig());
  plan->process = *plan->config.process;
  plan->process.args = command;
  plan->process.terminal = false;
  Attachment attachment;
  attachment.die_with_parent = true;
  Exec exec(state, std::move(plan), attachment);
  exec.AwaitOutcome();
  return exec.process().Wait().ShellCode();
}

/// In a process of its own, which has nothing of ours.
[[noreturn]] void Become(const std::string& state_root, const std::string& id, const std::vector<std::string>& command,
                         int output) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  ResetSignals();
  if (::dup2(output, 1) < 0 || ::dup2(output, 2) < 0) ::_exit(1);
  ::syscall(SYS_close_range, 3U, ~0U, 0);
  int code = -1;
  try {
    code = RunCommand(state_root, id, command);
  } catch (const std::exception& error) {
    const std::string text = Explain(error);
    [[maybe_unused]] const auto told = ::write(2, text.data(), text.size());
  }
  if (code < 0) ::raise(SIGKILL);  // which no exit code of the command looks like
  ::_exit(code);
}

}  // namespace

Probe::Probe(const std::string& state_root, const std::string& id, const std::vector<std::string>& command) {
  Pipe pipe;
  checked("check the health", [&] { return ::fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK); });
  pid_ = checked("check the health", [] { return ::fork(); });
  if (pid_ == 0) Become(state_root, id, command, pipe.write.get());
  output_ = std::move(pipe.read);
  pidfd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
}

Probe::~Probe() {
  if (reaped_) return;
  ::kill(pid_, SIGKILL);
  Wait();
}

void Probe::Listen() {
  char buffer[4096];
  const ssize_t got = ::read(output_.get(), buffer, sizeof buffer);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    output_ = UniqueFd();
  } else {
    said_.append(buffer, std::min(static_cast<std::size_t>(got), kMostOutput - said_.size()));
  }
}

int Probe::Wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace gantry
