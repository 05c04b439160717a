// linux.resources: limits of a cgroup, as values and as writes to its files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
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

struct Resources {
  std::vector<DeviceRule> devices;           // in order: a later one wins
  std::optional<std::int64_t> memory_limit;  // bytes; -1: none
  std::optional<std::int64_t> memory_and_swap;
  std::optional<std::int64_t> memory_reservation;
  std::optional<std::uint64_t> swappiness;
  bool disable_oom_killer = false;
  std::optional<std::uint64_t> cpu_shares;
  std::optional<std::int64_t> cpu_quota;  // microseconds in each period; -1: none
  std::optional<std::uint64_t> cpu_period;
  std::string cpus;
  std::string memory_nodes;
  std::optional<std::int64_t> pids_limit;                    // -1: none
  std::vector<std::pair<std::string, std::string>> unified;  // file of version 2 and what to write
};

/// Zeros of what cannot be zero mean "not given", as docker writes them. Throws ConfigError.
Resources ParseResources(const Field& field);

/// Writes what is given to the cgroup's directories. Throws ConfigError where no controller of this host can do it,
/// SysError.
void ApplyResources(const Resources& resources, const std::vector<std::string>& directories);

/// Decides which devices the members may use: the rules, then what every container has (runtime-spec, "Default
/// Devices").
void ApplyDeviceRules(const std::vector<DeviceRule>& rules, const std::vector<std::string>& directories);

}  // namespace gantry
