// run and create: from a bundle to a process, and for run in the foreground, to its end.
#include <fcntl.h>
#include <unistd.h>

#include <memory>

#include "runtime/console.h"
#include "runtime/container.h"
#include "runtime/files.h"
#include "runtime/foreground.h"
#include "runtime/log.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

std::unique_ptr<Container> Launch(const CommandLine& line, bool detached, bool wait_for_start) {
  if (line.arguments.size() != 1) throw UsageError(line.verb + " needs exactly one argument: the container's ID");
  CheckPreservedDescriptors(line);
  Attachment attachment;
  attachment.preserve_fds = line.preserve_fds;
  attachment.own_keyring = !line.no_new_keyring;
  attachment.own_cgroup = !line.no_cgroup;
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
