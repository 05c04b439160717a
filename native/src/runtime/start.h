// From created to running.
#pragma once

#include "runtime/config.h"
#include "runtime/state.h"

namespace gantry {

/// Runs the startContainer hooks inside, lets the program start, and runs the poststart hooks; if one of these fails,
/// the container is killed. Throws StateError, HookError, ChildError, SysError.
void StartContainer(const StateDirectory& directory, const State& state, const Hooks& hooks);

}  // namespace gantry
