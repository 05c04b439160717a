// Pausing all processes of a cgroup.
#pragma once

#include <string>
#include <vector>

namespace gantry {

/// Whether the members are frozen, or about to be.
bool IsFrozen(const std::vector<std::string>& directories);

/// Freezes or thaws, and waits (bounded) until it is so. Throws StateError where no hierarchy has a freezer, SysError.
void Freeze(const std::vector<std::string>& directories, bool frozen);

/// Of a container that is to die, and may be gone at any moment.
void ThawIfFrozen(const std::vector<std::string>& directories);

}  // namespace gantry
