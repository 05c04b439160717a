#include "runtime/resources.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "core/sys.h"

namespace gantry {
namespace {

constexpr std::int64_t kMost = INT64_MAX;

std::optional<std::int64_t> Signed(const Field& field, std::int64_t low) {
  if (!field.Present()) return std::nullopt;
  const std::int64_t value = field.Integer(low, kMost);
  return value == 0 ? std::nullopt : std::optional(value);
}

std::optional<std::uint64_t> Positive(const Field& field) {
  if (!field.Present()) return std::nullopt;
  const std::uint64_t value = field.Unsigned(static_cast<std::uint64_t>(kMost));
  return value == 0 ? std::nullopt : std::optional(value);
}

/// For limits that are not done yet: a zero asks for nothing.
void RefuseUnlessZero(const Field& field, const char* what) {
  if (field.Present() && field.Integer(-kMost, kMost) != 0) field.RefuseUnsupported(what);
}

std::optional<std::uint32_t> Number(const Field& field) {
  if (!field.Present()) return std::nullopt;
  const std::int64_t value = field.Integer(-1, UINT32_MAX);
  return value < 0 ? std::nullopt : std::optional(static_cast<std::uint32_t>(value));
}

std::vector<DeviceRule> ParseDeviceRules(const Field& field) {
  std::vector<DeviceRule> rules;
  for (const Field& item : field.Items()) {
    DeviceRule rule{.allow = item["allow"].BoolOr(false),
                    .type = 'a',
                    .major = Number(item["major"]),
                    .minor = Number(item["minor"]),
                    .access = item["access"].StringOr("rwm")};
    const std::string type = item["type"].StringOr("a");
    if (type != "a" && type != "b" && type != "c") item["type"].Refuse("must be a, b or c");
    rule.type = type[0];
    if (rule.access.empty() || rule.access.find_first_not_of("rwm") != std::string::npos) {
      item["access"].Refuse("must be made of r, w and m");
    }
    rules.push_back(std::move(rule));
  }
  return rules;
}

/// The limits of one cgroup, by the files that this host has for them.
class Limits {
 public:
  explicit Limits(const std::vector<std::string>& directories) : directories_(directories) {}

  bool Has(const std::string& file) const { return Find(file).has_value(); }

  void Write(const std::string& file, const std::string& value, const char* property) const {
    const auto path = Find(file);
    if (!path) {
      throw ConfigError("linux.resources." + std::string(property) + ": no controller of this host has " + file +
                        " for the container's cgroup");
    }
    const std::string step =
        "linux.resources." + std::string(property) + ": write " + QuoteJson(value) + " to " + *path;
    const UniqueFd file_fd(checked(step.c_str(), [&] { return ::open(path->c_str(), O_WRONLY | O_CLOEXEC); }));
    checked(step.c_str(), [&] { return ::write(file_fd.get(), value.data(), value.size()); });
  }

 private:
  std::optional<std::string> Find(const std::string& file) const {
    for (const std::string& directory : directories_) {
      std::string path = directory + "/" + file;
      if (::access(path.c_str(), F_OK) == 0) return path;
    }
    return std::nullopt;
  }

  const std::vector<std::string>& directories_;
};

std::string Unlimited(std::int64_t value) { return value < 0 ? "max" : std::to_string(value); }

void ApplyMemory(const Resources& resources, const Limits& limits) {
  const auto& [limit, swap] = std::pair(resources.memory_limit, resources.memory_and_swap);
  if (limits.Has("memory.max")) {
    if (limit) limits.Write("memory.max", Unlimited(*limit), "memory.limit");
    // Version 2 counts swap alone, the configuration swap and memory together.
    if (swap && *swap >= 0 && !limit) throw ConfigError("linux.resources.memory.swap: needs memory.limit");
    if (swap)
      limits.Write("memory.swap.max", *swap < 0 ? "max" : Unlimited(std::max(std::int64_t{0}, *swap - *limit)),
                   "memory.swap");
    if (resources.memory_reservation) {
      limits.Write("memory.low", Unlimited(*resources.memory_reservation), "memory.reservation");
    }
    return;
  }
  const auto set_limit = [&] {
    if (limit) limits.Write("memory.limit_in_bytes", std::to_string(*limit), "memory.limit");
  };
  const auto set_swap = [&] {
    if (swap) limits.Write("memory.memsw.limit_in_bytes", std::to_string(*swap), "memory.swap");
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
    limits.Write("memory.soft_limit_in_bytes", std::to_string(*resources.memory_reservation), "memory.reservation");
  }
  if (resources.swappiness)
    limits.Write("memory.swappiness", std::to_string(*resources.swappiness), "memory.swappiness");
  if (resources.disable_oom_killer) limits.Write("memory.oom_control", "1", "memory.disableOOMKiller");
}

/// 1024 shares are a weight of 100, 2 are 1, 262144 are 10000: the curve that runc and crun now share.
std::uint64_t Weight(std::uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  const double exponent = std::log2(static_cast<double>(shares));
  return static_cast<std::uint64_t>(
      std::ceil(std::pow(10, (exponent * exponent + 125 * exponent) / 612.0 - 7.0 / 34.0)));
}

void ApplyCpu(const Resources& resources, const Limits& limits) {
  const bool unified = limits.Has("cpu.weight");
  if (resources.cpu_shares) {
    if (unified) {
      limits.Write("cpu.weight", std::to_string(Weight(*resources.cpu_shares)), "cpu.shares");
    } else {
      limits.Write("cpu.shares", std::to_string(*resources.cpu_shares), "cpu.shares");
    }
  }
  if (unified && (resources.cpu_quota || resources.cpu_period)) {
    limits.Write(
        "cpu.max",
        Unlimited(resources.cpu_quota.value_or(-1)) + " " + std::to_string(resources.cpu_period.value_or(100000)),
        "cpu.quota");
  } else {
    if (resources.cpu_period) limits.Write("cpu.cfs_period_us", std::to_string(*resources.cpu_period), "cpu.period");
    if (resources.cpu_quota) limits.Write("cpu.cfs_quota_us", std::to_string(*resources.cpu_quota), "cpu.quota");
  }
  if (!resources.cpus.empty()) limits.Write("cpuset.cpus", resources.cpus, "cpu.cpus");
  if (!resources.memory_nodes.empty()) limits.Write("cpuset.mems", resources.memory_nodes, "cpu.mems");
}

std::string Print(const DeviceRule& rule) {
  const auto number = [](const auto& value) { return value ? std::to_string(*value) : "*"; };
  return std::string(1, rule.type) + " " + number(rule.major) + ":" + number(rule.minor) + " " + rule.access;
}

}  // namespace

Resources ParseResources(const Field& field) {
  Resources resources;
  resources.devices = ParseDeviceRules(field["devices"]);
  const Field memory = field["memory"];
  resources.memory_limit = Signed(memory["limit"], -1);
  resources.memory_and_swap = Signed(memory["swap"], -1);
  resources.memory_reservation = Signed(memory["reservation"], -1);
  if (memory["swappiness"].Present()) resources.swappiness = memory["swappiness"].Unsigned(100);
  resources.disable_oom_killer = memory["disableOOMKiller"].BoolOr(false);
  RefuseUnlessZero(memory["kernel"], "limiting the kernel's memory");
  RefuseUnlessZero(memory["kernelTCP"], "limiting the kernel's memory");
  const Field cpu = field["cpu"];
  resources.cpu_shares = Positive(cpu["shares"]);
  resources.cpu_quota = Signed(cpu["quota"], -1);
  resources.cpu_period = Positive(cpu["period"]);
  resources.cpus = cpu["cpus"].StringOr("");
  resources.memory_nodes = cpu["mems"].StringOr("");
  for (const char* name : {"realtimeRuntime", "realtimePeriod", "burst", "idle"}) {
    RefuseUnlessZero(cpu[name], "this limit");
  }
  // "pids.limit … 0 is a limit" (runtime-spec 1.3), but docker before it wrote 0 for none.
  if (const Field limit = field["pids"]["limit"]; limit.Present()) resources.pids_limit = limit.Integer(-1, kMost);
  const Field block = field["blockIO"];
  RefuseUnlessZero(block["weight"], "weighing block devices");
  RefuseUnlessZero(block["leafWeight"], "weighing block devices");
  for (const char* name : {"weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice",
                           "throttleWriteIOPSDevice"}) {
    block[name].RefuseUnsupported("limiting block devices");
  }
  for (const char* name : {"hugepageLimits", "network", "rdma"}) field[name].RefuseUnsupported("this limit");
  for (const auto& [name, value] : field["unified"].Members()) {
    if (name.empty() || name.find('/') != std::string::npos) value.Refuse("must be the name of a file of the cgroup");
    resources.unified.emplace_back(name, value.String());
  }
  return resources;
}

void ApplyResources(const Resources& resources, const std::vector<std::string>& directories) {
  const Limits limits(directories);
  ApplyMemory(resources, limits);
  ApplyCpu(resources, limits);
  if (resources.pids_limit) limits.Write("pids.max", Unlimited(*resources.pids_limit), "pids.limit");
  for (const auto& [file, value] : resources.unified) limits.Write(file, value, "unified");
}

void ApplyDeviceRules(const std::vector<DeviceRule>& rules, const std::vector<std::string>& directories) {
  if (rules.empty()) return;
  static const std::vector<DeviceRule> always = {
      {true, 'c', {}, {}, "m"}, {true, 'b', {}, {}, "m"}, {true, 'c', 1, 3, "rwm"},    {true, 'c', 1, 5, "rwm"},
      {true, 'c', 1, 7, "rwm"}, {true, 'c', 1, 8, "rwm"}, {true, 'c', 1, 9, "rwm"},    {true, 'c', 5, 0, "rwm"},
      {true, 'c', 5, 1, "rwm"}, {true, 'c', 5, 2, "rwm"}, {true, 'c', 136, {}, "rwm"},
  };
  const Limits limits(directories);
  const auto apply = [&](const DeviceRule& rule) {
    limits.Write(rule.allow ? "devices.allow" : "devices.deny", Print(rule), "devices");
  };
  for (const DeviceRule& rule : rules) apply(rule);
  for (const DeviceRule& rule : always) apply(rule);
}

}  // namespace gantry
