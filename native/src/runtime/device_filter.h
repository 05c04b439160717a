// Which devices the members of a cgroup of version 2 may use: a program of the kernel's, made from the rules.
#pragma once

#include <string>
#include <vector>

#include "runtime/device_rules.h"

namespace gantry {

/// Attaches the rules (in order: a later one wins; what none decides is allowed, as in a new cgroup of version 1) to a
/// cgroup, in addition to what its parents allow. Throws SysError.
void AttachDeviceFilter(const std::vector<DeviceRule>& rules, const std::string& directory);

}  // namespace gantry
