// Taking a container down, whatever state it is in.
#pragma once

#include <optional>

#include "runtime/state.h"

namespace gantry {

/// Kills what runs of it, removes its cgroup and its state, runs its poststop hooks. The caller has locked it. Throws
/// StateError, SysError.
void DeleteContainer(const StateDirectory& directory, const std::optional<State>& state);

}  // namespace gantry
