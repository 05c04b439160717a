// linux.resources of config.json: what a cgroup's members may use at most, as values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/block_io.h"
#include "runtime/device_rules.h"
#include "runtime/field.h"

namespace gantry {

struct HugepageLimit {
  std::string page_size;  // "2MB"
  std::uint64_t limit;    // bytes
};

struct Resources {
  std::vector<DeviceRule> devices;
  std::optional<std::int64_t> memory_limit;  // bytes; -1: none
  std::optional<std::int64_t> memory_and_swap;
  std::optional<std::int64_t> memory_reservation;
  std::optional<std::int64_t> kernel_tcp_memory;
  std::optional<std::uint64_t> swappiness;
  bool disable_oom_killer = false;
  bool check_before_update = false;
  std::optional<std::uint64_t> cpu_shares;
  std::optional<std::int64_t> cpu_quota;  // microseconds in each period; -1: none
  std::optional<std::uint64_t> cpu_period;
  std::optional<std::uint64_t> cpu_burst;  // microseconds
  std::optional<std::uint64_t> realtime_period;
  std::optional<std::int64_t> realtime_runtime;
  std::optional<std::int64_t> cpu_idle;
  std::string cpus;
  std::string memory_nodes;
  std::optional<std::int64_t> pids_limit;  // -1: none
  BlockIo block_io;
  std::vector<HugepageLimit> hugepages;
  std::vector<std::pair<std::string, std::string>> rdma;  // a device and its limits in the words of rdma.max
  std::optional<std::uint64_t> network_class;
  std::vector<std::pair<std::string, std::uint64_t>> network_priorities;
  std::vector<std::pair<std::string, std::string>> unified;  // file of version 2 and what to write
};

/// Zeros of what cannot be zero mean "not given", as docker writes them. Throws ConfigError.
Resources ParseResources(const Field& field);

}  // namespace gantry
