// linux.resources as properties of a unit: what systemd has to know of a cgroup that is its own, or it would undo it
// when it next looks at its units.
#pragma once

#include <vector>

#include "runtime/resources.h"
#include "runtime/systemd_property.h"

namespace gantry {

/// Of those limits that are given and that systemd has a property for; the others it leaves alone. Throws ConfigError
/// for a list of processors or memory nodes that is none.
std::vector<UnitProperty> LimitProperties(const Resources& resources);

/// With the quota and its period both, if one is given: the other is what the cgroup has ("max 100000").
Resources WithWholeQuota(Resources resources, std::string_view cpu_max);

}  // namespace gantry
