// The verbs that find a container by its id: start, state, kill, delete.
#include "runtime/verbs.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <optional>

#include "runtime/cgroup.h"
#include "runtime/cgroup_freezer.h"
#include "runtime/config.h"
#include "runtime/delete.h"
#include "runtime/print.h"
#include "runtime/protect.h"
#include "runtime/start.h"
#include "runtime/state.h"

namespace gantry {
namespace {

StateDirectory Find(const CommandLine& line, std::size_t most_arguments = 1) {
  if (line.arguments.empty() || line.arguments.size() > most_arguments) {
    throw UsageError(line.verb + (most_arguments == 1 ? " needs exactly one argument: the container's ID"
                                                      : " needs the container's ID and perhaps a signal"));
  }
  return StateDirectory::Open(line.root, line.arguments[0]);
}

}  // namespace

int StartVerb(const CommandLine& line) {
  const StateDirectory directory = Find(line);
  directory.Lock();
  const auto state = directory.Read();
  switch (directory.Find(state)) {
    case Status::kCreated:
      break;
    case Status::kStopped:
      throw StateError("cannot start a container that has stopped");
    case Status::kPaused:
    case Status::kRunning:
      throw StateError("cannot start an already running container");
    case Status::kCreating:
      throw StateError("cannot start a container that is being created");
  }
  const Config config = ParseConfig(directory.ReadConfig());
  RequireProcess(config);
  const Hooks& hooks = config.hooks;
  if (!hooks.start_container.empty()) ProtectSelf(line.argv);  // they are processes of the container
  StartContainer(directory, *state, hooks);
  return 0;
}

int StateVerb(const CommandLine& line) {
  const StateDirectory directory = Find(line);
  const auto state = directory.Read();
  if (!state || state->pid == 0) throw StateError("container does not exist");  // not yet
  PrintOut(PrintState(*state, directory.FindPaused(state)));
  return 0;
}

int KillVerb(const CommandLine& line) {
  const int signal = line.arguments.size() > 1 ? ParseSignal(line.arguments[1]) : SIGTERM;
  const StateDirectory directory = Find(line, 2);
  const auto state = directory.Read();
  const Status status = directory.Find(state);
  if (line.all) {
    if (state) SignalCgroup(state->cgroups, signal);
    if (!state || !state->cgroups.empty() || status == Status::kStopped) return 0;
    // A container without cgroups is known by its first process alone, with which its namespace ends.
  }
  if (status != Status::kCreated && status != Status::kRunning) throw StateError("container not running");
  const UniqueFd process = OpenProcess(*state);
  if (process.get() < 0 || ::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) != 0) {
    if (process.get() < 0 || errno == ESRCH) throw StateError("container not running");
    throw SysError(errno, "signal the container");
  }
  if (signal == SIGKILL) ThawIfFrozen(state->cgroups);
  return 0;
}

int DeleteVerb(const CommandLine& line) {
  std::optional<StateDirectory> directory;
  try {
    directory = Find(line);
  } catch (const StateError&) {
    if (line.force && !line.arguments.empty()) return 0;  // whoever forces wants it gone, and it is
    throw;
  }
  directory->Lock();
  const auto state = directory->Read();
  const Status status = directory->Find(state);
  if (!line.force && (status == Status::kRunning || status == Status::kCreating)) {
    throw StateError("cannot delete container " + directory->id() + " that is not stopped: " + StatusName(status));
  }
  DeleteContainer(*directory, state);
  return 0;
}

}  // namespace gantry
