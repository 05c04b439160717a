// linux.resources.devices: which devices the members of a cgroup may use.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/field.h"

namespace gantry {

struct DeviceRule {
  bool allow = false;
  char type = 'a';                     // a: of both kinds, whatever their numbers
  std::optional<std::uint32_t> major;  // none: all
  std::optional<std::uint32_t> minor;
  std::string access = "rwm";
};

/// In order: a later one wins. Throws ConfigError.
std::vector<DeviceRule> ParseDeviceRules(const Field& field);

/// Has the kernel hold the members to the rules, then to what every container has (runtime-spec, "Default Devices").
/// Throws ConfigError where no hierarchy of this host can do it, SysError.
void ApplyDeviceRules(const std::vector<DeviceRule>& rules, const std::vector<std::string>& directories);

}  // namespace gantry
