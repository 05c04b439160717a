// An existing cgroup as a process that is about to be born into it sees it.
#pragma once

#include <string>
#include <vector>

#include "core/sys.h"

namespace gantry {

/// What it takes to join: the directory of version 2 for CLONE_INTO_CGROUP (or -1), and cgroup.procs of each hierarchy
/// of version 1.
struct CgroupDoor {
  UniqueFd unified;
  std::vector<UniqueFd> joins;
};

/// Opens the cgroup that a container was given. Throws SysError.
CgroupDoor OpenCgroup(const std::vector<std::string>& directories);

}  // namespace gantry
