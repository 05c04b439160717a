#include "runtime/resources.h"

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

void ParseMemory(const Field& memory, Resources& resources) {
  resources.memory_limit = Signed(memory["limit"], -1);
  resources.memory_and_swap = Signed(memory["swap"], -1);
  resources.memory_reservation = Signed(memory["reservation"], -1);
  resources.kernel_tcp_memory = Signed(memory["kernelTCP"], -1);
  if (memory["swappiness"].Present()) resources.swappiness = memory["swappiness"].Unsigned(100);
  resources.disable_oom_killer = memory["disableOOMKiller"].BoolOr(false);
  resources.check_before_update = memory["checkBeforeUpdate"].BoolOr(false);
  if (Signed(memory["kernel"], -1).value_or(-1) > 0) {
    memory["kernel"].Refuse("no kernel since 5.16 limits its own memory apart: memory.limit covers it");
  }
}

void ParseCpu(const Field& cpu, Resources& resources) {
  resources.cpu_shares = Positive(cpu["shares"]);
  resources.cpu_quota = Signed(cpu["quota"], -1);
  resources.cpu_period = Positive(cpu["period"]);
  resources.realtime_period = Positive(cpu["realtimePeriod"]);
  resources.realtime_runtime = Signed(cpu["realtimeRuntime"], -1);
  if (cpu["burst"].Present()) resources.cpu_burst = cpu["burst"].Unsigned(static_cast<std::uint64_t>(kMost));
  if (cpu["idle"].Present()) resources.cpu_idle = cpu["idle"].Integer(0, 1);
  resources.cpus = cpu["cpus"].StringOr("");
  resources.memory_nodes = cpu["mems"].StringOr("");
}

std::vector<HugepageLimit> ParseHugepages(const Field& field) {
  std::vector<HugepageLimit> limits;
  for (const Field& item : field.Items()) {
    const std::string size = item["pageSize"].String();
    const std::size_t digits = size.find_first_not_of("0123456789");
    const std::string unit = digits == std::string::npos ? "" : size.substr(digits);
    if (digits == 0 || size[0] == '0' || (unit != "KB" && unit != "MB" && unit != "GB")) {
      item["pageSize"].Refuse("must be a number and KB, MB or GB, as in 2MB");
    }
    limits.push_back({size, item["limit"].Unsigned(static_cast<std::uint64_t>(kMost))});
  }
  return limits;
}

void ParseRdma(const Field& field, Resources& resources) {
  for (const auto& [device, limits] : field.Members()) {
    if (device.empty() || device.find_first_of(" \n") != std::string::npos) limits.Refuse("is no name of a device");
    std::string words;
    for (const auto& [property, key] : {std::pair("hcaHandles", "hca_handle"), std::pair("hcaObjects", "hca_object")}) {
      if (!limits[property].Present()) continue;
      words += " " + std::string(key) + "=" + std::to_string(limits[property].Unsigned(UINT32_MAX));
    }
    if (!words.empty()) resources.rdma.emplace_back(device, device + words);
  }
}

void ParseNetwork(const Field& network, Resources& resources) {
  if (network["classID"].Present()) resources.network_class = network["classID"].Unsigned(UINT32_MAX);
  for (const Field& item : network["priorities"].Items()) {
    resources.network_priorities.emplace_back(item["name"].String(), item["priority"].Unsigned(UINT32_MAX));
  }
}

}  // namespace

Resources ParseResources(const Field& field) {
  Resources resources;
  resources.devices = ParseDeviceRules(field["devices"]);
  ParseMemory(field["memory"], resources);
  ParseCpu(field["cpu"], resources);
  // "pids.limit … 0 is a limit" (runtime-spec 1.3), but docker before it wrote 0 for none.
  if (const Field limit = field["pids"]["limit"]; limit.Present()) resources.pids_limit = limit.Integer(-1, kMost);
  resources.block_io = ParseBlockIo(field["blockIO"]);
  resources.hugepages = ParseHugepages(field["hugepageLimits"]);
  ParseRdma(field["rdma"], resources);
  ParseNetwork(field["network"], resources);
  for (const auto& [name, value] : field["unified"].Members()) {
    if (name.empty() || name.find('/') != std::string::npos) value.Refuse("must be the name of a file of the cgroup");
    resources.unified.emplace_back(name, value.String());
  }
  return resources;
}

}  // namespace gantry
