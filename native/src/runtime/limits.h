// linux.resources as the files of a cgroup: each property in the words of version 1 or of version 2.
#pragma once

#include <string>
#include <vector>

#include "runtime/resources.h"

namespace gantry {

/// 1024 shares are a weight of 100, 2 are 1, 262144 are 10000: the curve that runc and crun now share.
std::uint64_t CpuWeight(std::uint64_t shares);

/// Writes what is given, all but the rules of devices. Throws ConfigError where no controller of this host can do it,
/// SysError.
void ApplyResources(const Resources& resources, const std::vector<std::string>& directories);

}  // namespace gantry
