// The unit of systemd's that a container's cgroup is: a scope, which is a unit whose processes somebody else starts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "runtime/systemd_property.h"

namespace gantry {

/// How the scope of a container is found again.
struct ScopeName {
  std::string unit;      // "docker-1f2e.scope"
  bool of_user = false;  // of the user's systemd, not of the machine's
};

/// One that is to be made.
struct ScopePlan {
  ScopeName name;
  std::string slice;  // "system.slice", under which it is
  std::vector<UnitProperty> properties;
};

/// Whether `linux.cgroupsPath` is meant for systemd.
inline bool NamesScope(std::string_view cgroups_path) { return cgroups_path.find(':') != std::string_view::npos; }

/// What "slice:prefix:name" means, or an empty path: the unit prefix-name.scope under that slice, which may be left
/// out. Throws ConfigError.
ScopePlan ParseScope(std::string_view cgroups_path, std::string_view id);

}  // namespace gantry
