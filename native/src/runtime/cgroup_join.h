// An existing cgroup as a process that is about to be born into it sees it.
#pragma once

#include <string>
#include <vector>

#include "core/sys.h"

namespace gantry {

/// What a process of one thread writes "0" to, to enter a cgroup of version 1. Before it moves whole processes, by
/// cgroup.procs, the kernel waits until nobody on the machine forks or exits: milliseconds, and more where much goes
/// on. For a thread that moves itself it does not (since Linux 5.5).
inline constexpr const char* kJoinFile = "tasks";

/// What it takes to join: the directory of version 2 for CLONE_INTO_CGROUP (or -1), and kJoinFile of each hierarchy of
/// version 1.
struct CgroupDoor {
  UniqueFd unified;
  std::vector<UniqueFd> joins;
};

/// Those below a container's cgroups that "[CONTROLLER:]PATH" means: in every hierarchy, or in that controller's alone.
/// No path leads out of them. Throws ConfigError.
std::vector<std::string> SubCgroups(std::vector<std::string> directories, const std::string& words);

/// Opens the cgroup that a container was given. Throws SysError.
CgroupDoor OpenCgroup(const std::vector<std::string>& directories);

}  // namespace gantry
