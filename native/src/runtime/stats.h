// What a cgroup has used, in the document that runc's `events` prints.
#pragma once

#include <string>
#include <vector>

namespace gantry {

/// The value of "data": cpu, memory and pids, of whichever version of cgroups counts them. What no hierarchy counts is
/// 0.
std::string PrintStats(const std::vector<std::string>& directories);

}  // namespace gantry
