#include "runtime/delete.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "runtime/cgroup.h"
#include "runtime/cgroup_freezer.h"
#include "runtime/config.h"
#include "runtime/log.h"

namespace gantry {
namespace {

void AwaitEnd(const State& state) {
  const UniqueFd process = OpenProcess(state);
  if (process.get() < 0) return;
  const bool sent = ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0) == 0;
  // A profile of AppArmor may forbid signals even to root; what a cgroup ends with asks nobody.
  if (!sent && errno != ESRCH) SignalCgroup(state.cgroups, SIGKILL);
  ThawIfFrozen(state.cgroups);  // what is frozen does not even die
  pollfd ended{process.get(), POLLIN, 0};
  if (::poll(&ended, 1, 10000) == 0) throw StateError("container's first process does not end: killed 10 s ago");
}

/// Whatever became of the configuration that create kept, it must not keep a container from being deleted.
Hooks KeptHooks(const StateDirectory& directory) {
  try {
    return ParseConfig(directory.ReadConfig()).hooks;
  } catch (const std::exception& error) {
    Warn("the hooks of " + directory.id() + " are not run: " + error.what());
    return {};
  }
}

}  // namespace

void DeleteContainer(const StateDirectory& directory, const std::optional<State>& state) {
  Hooks hooks;
  if (state) {
    AwaitEnd(*state);
    RemoveCgroup(state->cgroups, state->scope);
    hooks = KeptHooks(directory);
  }
  directory.Remove();
  if (state) RunPoststop(hooks.poststop, PrintState(*state, Status::kStopped));
}

}  // namespace gantry
