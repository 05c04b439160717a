// run and create: from a bundle to a process, and for run in the foreground, to its end.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "runtime/console.h"
#include "runtime/container.h"
#include "runtime/files.h"
#include "runtime/foreground.h"
#include "runtime/log.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

constexpr int kMostSockets = 1024;

/// How many sockets systemd opened for this process (sd_listen_fds(3)): they are the container's.
int ListeningSockets() {
  const char* pid = ::getenv("LISTEN_PID");
  const char* count = ::getenv("LISTEN_FDS");
  if (pid == nullptr || count == nullptr || std::to_string(::getpid()) != pid) return 0;
  const int number = std::atoi(count);
  return number > 0 && number <= kMostSockets && ::fcntl(2 + number, F_GETFD) >= 0 ? number : 0;
}

std::unique_ptr<Container> Launch(const CommandLine& line, bool detached, bool wait_for_start) {
  if (line.arguments.size() != 1) throw UsageError(line.verb + " needs exactly one argument: the container's ID");
  CheckPreservedDescriptors(line);
  Attachment attachment;
  attachment.listening = ListeningSockets();
  attachment.preserve_fds = attachment.listening + line.preserve_fds;
  attachment.own_keyring = !line.no_new_keyring;
  attachment.own_cgroup = !line.no_cgroup;
  attachment.systemd_cgroup = line.systemd_cgroup;
  attachment.die_with_parent = !detached;
  attachment.wait_for_start = wait_for_start;
  auto container = std::make_unique<Container>(line.root, PreparePlan(line.arguments[0], line.bundle, attachment));
  Plan& plan = container->plan();
  CheckTerminal(line, plan.config.process && plan.config.process->terminal, detached);
  for (const std::string& warning : plan.config.warnings) Warn("config.json: " + warning);
  container->AwaitOutcome();
  container->Record();
  HandOver(line, container->process(), plan.process.console_master);
  return container;
}

}  // namespace

int RunVerb(const CommandLine& line) {
  if (line.detach) {
    Launch(line, true, false)->Keep();
    return 0;
  }
  const UniqueFd signals = TakeSignals();
  const auto container = Launch(line, false, false);
  const Ending ending = Supervise(container->process(), container->plan().process.console_master.get(), signals.get());
  if (line.keep) {
    container->Keep();
  } else {
    container->Remove();
  }
  return ending.ShellCode();
}

int CreateVerb(const CommandLine& line) {
  Launch(line, true, true)->Keep();
  return 0;
}

}  // namespace gantry
