#include "runtime/systemd_limits.h"

#include <array>
#include <charconv>
#include <climits>

#include "runtime/limits.h"
#include "runtime/lookup.h"
#include "runtime/number_list.h"

namespace gantry {
namespace {

constexpr std::uint64_t kInfinity = UINT64_MAX;  // systemd's word for "no limit"
constexpr std::uint64_t kMicrosecondsPerSecond = 1000000;
constexpr std::uint64_t kQuotaGrain = 10000;  // "CPUQuota= … percent": systemd rounds to one
constexpr std::uint64_t kKernelPeriod = 100000;

/// Files of version 2 whose values are one number, or "max".
constexpr std::array<Named<const char*>, 7> kNumberFiles = {{
    {"memory.min", "MemoryMin"},
    {"memory.low", "MemoryLow"},
    {"memory.high", "MemoryHigh"},
    {"memory.max", "MemoryMax"},
    {"memory.swap.max", "MemorySwapMax"},
    {"pids.max", "TasksMax"},
    {"cpu.weight", "CPUWeight"},
}};

std::uint64_t OrInfinity(std::int64_t value) { return value < 0 ? kInfinity : static_cast<std::uint64_t>(value); }

/// "max", or a number; what is neither the kernel will refuse.
std::uint64_t NumberOrMax(std::string_view text) {
  std::uint64_t number = kInfinity;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// Of cpu.max: "max 100000", or only the quota.
std::pair<std::uint64_t, std::uint64_t> QuotaAndPeriod(std::string_view text) {
  const auto space = text.find(' ');
  std::uint64_t period = space == std::string_view::npos ? kInfinity : NumberOrMax(text.substr(space + 1));
  if (period == 0 || period == kInfinity) period = kKernelPeriod;
  return {NumberOrMax(text), period};
}

class Properties {
 public:
  void Number(const char* name, std::uint64_t value) { list_.push_back({name, value}); }

  /// "AllowedCPUs: … an array of bytes", the first with the first eight.
  void Set(const char* name, const std::string& text, const std::string& property) {
    std::vector<std::uint8_t> bytes;
    for (const unsigned long word : ParseNumberList(text, property)) {
      for (std::size_t shift = 0; shift < sizeof word * CHAR_BIT; shift += CHAR_BIT) {
        bytes.push_back(static_cast<std::uint8_t>(word >> shift));
      }
    }
    while (!bytes.empty() && bytes.back() == 0) bytes.pop_back();
    list_.push_back({name, std::move(bytes)});
  }

  /// systemd counts the quota in each second, and rounds it up to a hundredth of one.
  void Quota(std::uint64_t quota, std::uint64_t period) {
    std::uint64_t in_second = kInfinity;
    if (quota < kInfinity / kMicrosecondsPerSecond) {
      in_second = (quota * kMicrosecondsPerSecond / period + kQuotaGrain - 1) / kQuotaGrain * kQuotaGrain;
    }
    Number("CPUQuotaPeriodUSec", period);
    Number("CPUQuotaPerSecUSec", in_second);
  }

  std::vector<UnitProperty> Take() { return std::move(list_); }

 private:
  std::vector<UnitProperty> list_;
};

void AddMemory(const Resources& resources, Properties& properties) {
  const auto& [limit, swap] = std::pair(resources.memory_limit, resources.memory_and_swap);
  if (limit) properties.Number("MemoryMax", OrInfinity(*limit));
  if (resources.memory_reservation) properties.Number("MemoryLow", OrInfinity(*resources.memory_reservation));
  if (!swap) return;
  if (*swap < 0) properties.Number("MemorySwapMax", kInfinity);
  // Version 2 counts swap alone. What makes no sense is refused where the files are written.
  if (*swap >= 0 && limit && *limit >= 0 && *swap >= *limit) {
    properties.Number("MemorySwapMax", static_cast<std::uint64_t>(*swap - *limit));
  }
}

void AddCpu(const Resources& resources, Properties& properties) {
  if (resources.cpu_idle.value_or(0) == 1) {
    properties.Number("CPUWeight", 0);  // "idle"
  } else if (resources.cpu_shares) {
    properties.Number("CPUWeight", CpuWeight(*resources.cpu_shares));
  }
  if (resources.cpu_quota || resources.cpu_period) {
    properties.Quota(OrInfinity(resources.cpu_quota.value_or(-1)), resources.cpu_period.value_or(kKernelPeriod));
  }
  if (!resources.cpus.empty()) properties.Set("AllowedCPUs", resources.cpus, "linux.resources.cpu.cpus");
  if (!resources.memory_nodes.empty()) {
    properties.Set("AllowedMemoryNodes", resources.memory_nodes, "linux.resources.cpu.mems");
  }
}

void AddUnified(const Resources& resources, Properties& properties) {
  for (const auto& [file, value] : resources.unified) {
    const std::string where = "linux.resources.unified." + file;
    if (const auto name = Lookup(kNumberFiles, file)) {
      properties.Number(*name, NumberOrMax(value));
    } else if (file == "cpu.max") {
      const auto [quota, period] = QuotaAndPeriod(value);
      properties.Quota(quota, period);
    } else if (file == "cpuset.cpus" || file == "cpuset.mems") {
      properties.Set(file == "cpuset.cpus" ? "AllowedCPUs" : "AllowedMemoryNodes", value, where);
    }
  }
}

}  // namespace

Resources WithWholeQuota(Resources resources, std::string_view cpu_max) {
  if (resources.cpu_quota.has_value() == resources.cpu_period.has_value()) return resources;
  const auto [quota, period] = QuotaAndPeriod(cpu_max);
  if (!resources.cpu_quota) resources.cpu_quota = quota == kInfinity ? -1 : static_cast<std::int64_t>(quota);
  if (!resources.cpu_period) resources.cpu_period = period;
  return resources;
}

std::vector<UnitProperty> LimitProperties(const Resources& resources) {
  Properties properties;
  AddMemory(resources, properties);
  AddCpu(resources, properties);
  // Of none at all only the kernel has a notion.
  if (resources.pids_limit.value_or(0) != 0) properties.Number("TasksMax", OrInfinity(*resources.pids_limit));
  if (resources.block_io.weight != 0) properties.Number("IOWeight", UnifiedWeight(resources.block_io.weight));
  AddUnified(resources, properties);
  return properties.Take();
}

}  // namespace gantry
