// linux.resources as the files of a cgroup: each property in the words of version 1 or of version 2.
#pragma once

#include <string>
#include <vector>

#include "runtime/resources.h"

namespace gantry {

/// Writes what is given, all but the rules of devices. Throws ConfigError where no controller of this host can do it,
/// SysError.
void ApplyResources(const Resources& resources, const std::vector<std::string>& directories);

}  // namespace gantry
