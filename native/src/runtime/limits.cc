#include "runtime/limits.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>

#include "core/sys.h"
#include "runtime/cgroup.h"
#include "runtime/cgroup_files.h"
#include "runtime/config_error.h"

namespace gantry {
namespace {

std::string Unlimited(std::int64_t value) { return value < 0 ? "max" : std::to_string(value); }

/// "checkBeforeUpdate: … the limit is refused if it is lower than the current usage" (runtime-spec, "Memory").
void CheckUsage(const Resources& resources, const CgroupFiles& files) {
  if (!resources.check_before_update || resources.memory_limit.value_or(-1) < 0) return;
  auto text = files.Read("memory.current");
  if (!text) text = files.Read("memory.usage_in_bytes");
  std::int64_t usage = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), usage);
  if (usage > *resources.memory_limit) {
    throw ConfigError("linux.resources.memory.limit: " + std::to_string(*resources.memory_limit) +
                      " is less than the " + std::to_string(usage) + " bytes in use, and checkBeforeUpdate is set");
  }
}

void ApplyUnifiedMemory(const Resources& resources, const CgroupFiles& files) {
  const auto& [limit, swap] = std::pair(resources.memory_limit, resources.memory_and_swap);
  // Version 2 counts swap alone, the configuration swap and memory together.
  if (swap && *swap >= 0) {
    if (limit.value_or(-1) < 0) throw ConfigError("linux.resources.memory.swap: needs memory.limit");
    if (*swap < *limit) {
      throw ConfigError("linux.resources.memory.swap: counts memory and swap: must not be less than memory.limit");
    }
  }
  const std::int64_t swap_alone = swap && *swap >= 0 ? *swap - *limit : -1;
  const bool asks_for_swap = swap && swap_alone > 0;
  if (swap && (asks_for_swap || files.Has("memory.swap.max"))) {  // a kernel without swap has no file to limit it
    files.Write("memory.swap.max", Unlimited(swap_alone), "memory.swap");
  }
  if (limit) files.Write("memory.max", Unlimited(*limit), "memory.limit");
  if (resources.memory_reservation) {
    files.Write("memory.low", Unlimited(*resources.memory_reservation), "memory.reservation");
  }
}

void ApplyOldMemory(const Resources& resources, const CgroupFiles& files) {
  const auto& [limit, swap] = std::pair(resources.memory_limit, resources.memory_and_swap);
  const auto set_limit = [&] {
    if (limit) files.Write("memory.limit_in_bytes", std::to_string(*limit), "memory.limit");
  };
  const auto set_swap = [&] {
    if (swap) files.Write("memory.memsw.limit_in_bytes", std::to_string(*swap), "memory.swap");
  };
  // Memory may never be allowed more than both together: what grows, grows from the outside.
  try {
    set_limit();
    set_swap();
  } catch (const SysError& error) {
    if (error.code().value() != EINVAL || !limit || !swap) throw;
    set_swap();
    set_limit();
  }
  if (resources.memory_reservation) {
    files.Write("memory.soft_limit_in_bytes", std::to_string(*resources.memory_reservation), "memory.reservation");
  }
}

void ApplyMemory(const Resources& resources, const CgroupFiles& files) {
  CheckUsage(resources, files);
  const bool bounded = resources.memory_limit || resources.memory_and_swap || resources.memory_reservation;
  if (bounded) (files.Has("memory.max") ? ApplyUnifiedMemory : ApplyOldMemory)(resources, files);
  // What version 2 has no word for is refused there.
  if (resources.kernel_tcp_memory) {
    files.Write("memory.kmem.tcp.limit_in_bytes", std::to_string(*resources.kernel_tcp_memory), "memory.kernelTCP");
  }
  if (resources.swappiness) {
    files.Write("memory.swappiness", std::to_string(*resources.swappiness), "memory.swappiness");
  }
  if (resources.disable_oom_killer) files.Write("memory.oom_control", "1", "memory.disableOOMKiller");
}

void ApplyUnifiedTime(const Resources& resources, const CgroupFiles& files) {
  if (resources.cpu_shares) files.Write("cpu.weight", std::to_string(CpuWeight(*resources.cpu_shares)), "cpu.shares");
  if (resources.cpu_period) {
    std::string quota = Unlimited(resources.cpu_quota.value_or(-1));
    const auto now = files.Read("cpu.max");
    if (!resources.cpu_quota && now) quota = now->substr(0, now->find(' '));
    files.Write("cpu.max", quota + " " + std::to_string(*resources.cpu_period), "cpu.period");
  } else if (resources.cpu_quota) {
    files.Write("cpu.max", Unlimited(*resources.cpu_quota), "cpu.quota");  // the period stays as it is
  }
  if (resources.cpu_burst) files.Write("cpu.max.burst", std::to_string(*resources.cpu_burst), "cpu.burst");
}

void ApplyOldTime(const Resources& resources, const CgroupFiles& files) {
  const auto write = [&](const char* file, const auto& value, const char* property) {
    if (value) files.Write(file, std::to_string(*value), property);
  };
  write("cpu.shares", resources.cpu_shares, "cpu.shares");
  write("cpu.cfs_period_us", resources.cpu_period, "cpu.period");
  write("cpu.cfs_quota_us", resources.cpu_quota, "cpu.quota");
  write("cpu.cfs_burst_us", resources.cpu_burst, "cpu.burst");
}

void ApplyCpu(const Resources& resources, const CgroupFiles& files) {
  const bool timed = resources.cpu_shares || resources.cpu_quota || resources.cpu_period || resources.cpu_burst;
  if (timed) (files.Has("cpu.weight") ? ApplyUnifiedTime : ApplyOldTime)(resources, files);
  if (resources.realtime_period) {
    files.Write("cpu.rt_period_us", std::to_string(*resources.realtime_period), "cpu.realtimePeriod");
  }
  if (resources.realtime_runtime) {
    files.Write("cpu.rt_runtime_us", std::to_string(*resources.realtime_runtime), "cpu.realtimeRuntime");
  }
  if (resources.cpu_idle) files.Write("cpu.idle", std::to_string(*resources.cpu_idle), "cpu.idle");
  if (!resources.cpus.empty()) files.Write("cpuset.cpus", resources.cpus, "cpu.cpus");
  if (!resources.memory_nodes.empty()) files.Write("cpuset.mems", resources.memory_nodes, "cpu.mems");
}

/// Limiting what is reserved, where the kernel can: what is only used is found to be too much by a SIGBUS.
void ApplyHugepages(const std::vector<HugepageLimit>& limits, const CgroupFiles& files) {
  for (const auto& [size, limit] : limits) {
    const std::string prefix = "hugetlb." + size + ".";
    std::string found = prefix + "max";
    for (const char* name : {"rsvd.max", "max", "rsvd.limit_in_bytes", "limit_in_bytes"}) {
      if (!files.Has(prefix + name)) continue;
      found = prefix + name;
      break;
    }
    files.Write(found, std::to_string(limit), "hugepageLimits");
  }
}

void ApplyUnified(const Resources& resources, const std::vector<std::string>& directories) {
  if (resources.unified.empty()) return;
  const std::string directory = UnifiedDirectory(directories);
  const std::vector<std::string> only = directory.empty() ? std::vector<std::string>() : std::vector{directory};
  const CgroupFiles files(only);
  for (const auto& [file, value] : resources.unified) files.Write(file, value, "unified");
}

}  // namespace

std::uint64_t CpuWeight(std::uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  const double exponent = std::log2(static_cast<double>(shares));
  return static_cast<std::uint64_t>(
      std::ceil(std::pow(10, (exponent * exponent + 125 * exponent) / 612.0 - 7.0 / 34.0)));
}

void ApplyResources(const Resources& resources, const std::vector<std::string>& directories) {
  const CgroupFiles files(directories);
  ApplyMemory(resources, files);
  ApplyCpu(resources, files);
  if (resources.pids_limit) files.Write("pids.max", Unlimited(*resources.pids_limit), "pids.limit");
  ApplyBlockIo(resources.block_io, files);
  ApplyHugepages(resources.hugepages, files);
  for (const auto& [device, words] : resources.rdma) files.Write("rdma.max", words, "rdma");
  if (resources.network_class) {
    files.Write("net_cls.classid", std::to_string(*resources.network_class), "network.classID");
  }
  for (const auto& [name, priority] : resources.network_priorities) {
    files.Write("net_prio.ifpriomap", name + " " + std::to_string(priority), "network.priorities");
  }
  ApplyUnified(resources, directories);
}

}  // namespace gantry
