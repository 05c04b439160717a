// Giving a container's cgroup to the container.
#pragma once

#include <string>
#include <vector>

#include "runtime/config.h"

namespace gantry {

/// Lets the container's user make cgroups below its own and move processes between them, where it sees version 2 as its
/// own root and may write there; the limits stay ours (runtime-spec, "Cgroup ownership"). Throws SysError.
void DelegateCgroup(const Config& config, const std::vector<std::string>& directories);

}  // namespace gantry
