#include "runtime/start.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <memory>

#include "runtime/cgroup.h"
#include "runtime/exec.h"
#include "runtime/hook_conversation.h"
#include "runtime/report.h"

namespace gantry {
namespace {

/// A process of the container in all but its program: path and program are the container's (runtime-spec,
/// "startContainer").
void RunInside(const StateDirectory& directory, const State& state, const HookConfig& hook, const std::string& name) {
  auto plan = std::make_unique<ExecPlan>();
  plan->config = ParseConfig(directory.ReadConfig());
  plan->process = *plan->config.process;
  plan->process.args = hook.args;
  plan->process.env = hook.env;
  plan->process.terminal = false;
  plan->program = hook.path;
  Pipe input;
  Pipe output;
  Attachment attachment;
  attachment.stdio[0] = input.read.get();
  attachment.stdio[1] = attachment.stdio[2] = output.write.get();
  attachment.die_with_parent = true;
  Exec exec(state, std::move(plan), attachment);
  input.read = UniqueFd();
  output.write = UniqueFd();
  exec.AwaitOutcome();
  HookConversation conversation(exec.process().pidfd(), std::move(input.write), std::move(output.read),
                                PrintState(state, Status::kCreated), hook.timeout_seconds);
  const bool in_time = conversation.Await();
  if (!in_time) exec.process().Signal(SIGKILL);
  const Ending ending = exec.process().Wait();
  exec.Keep();
  if (const auto failure = HookFailure(in_time, ending.signaled, ending.value, hook)) {
    throw HookError("error running " + name + ": " + *failure + conversation.Said());
  }
}

void LetGo(const StateDirectory& directory) {
  const UniqueFd exec(checked("open the exec fifo", [&] {
    return ::openat(directory.fd(), kExecFifo, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  }));
  const UniqueFd start(checked("open the start fifo", [&] {
    return ::openat(directory.fd(), kStartFifo, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  }));
  checked("start the container", [&] { return ::write(start.get(), "1", 1); });
  checked("wait for the container", [&] { return ::fcntl(exec.get(), F_SETFL, 0); });
  bool starting = false;
  Report report;
  while (checked("wait for the container", [&] { return ::read(exec.get(), &report, sizeof report); }) ==
         sizeof report) {
    starting = true;
    if (report.kind == Report::kFailed) {
      throw ChildError(StepName(report.step), report.error,
                       "unable to start container process: exec: " + ErrorText(report.error));
    }
  }
  if (!starting) throw StateError("cannot start a container that has stopped");
}

}  // namespace

void StartContainer(const StateDirectory& directory, const State& state, const Hooks& hooks) {
  for (std::size_t i = 0; i < hooks.start_container.size(); ++i) {
    const HookConfig& hook = hooks.start_container[i];
    RunInside(directory, state, hook, "startContainer hook #" + std::to_string(i) + " (" + hook.path + ")");
  }
  LetGo(directory);
  try {
    RunHooks(hooks.poststart, "poststart", PrintState(state, Status::kRunning));
  } catch (...) {
    SignalCgroup(state.cgroups, SIGKILL);
    const UniqueFd process = OpenProcess(state);
    if (process.get() >= 0) ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
    throw;
  }
}

}  // namespace gantry
