#include "runtime/block_io.h"

namespace gantry {
namespace {

constexpr ThrottleName kThrottles[] = {
    {"throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"},
    {"throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"},
    {"throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"},
    {"throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"},
};

constexpr std::uint64_t kLeastWeight = 10;
constexpr std::uint64_t kMostWeight = 1000;

std::string Device(const Field& item) {
  return std::to_string(item["major"].Unsigned(4095)) + ":" + std::to_string(item["minor"].Unsigned(1048575));
}

std::uint64_t Weight(const Field& field) {
  if (!field.Present()) return 0;
  const std::uint64_t weight = field.Unsigned(kMostWeight);
  if (weight != 0 && weight < kLeastWeight) field.Refuse("must be from 10 to 1000");
  return weight;
}

/// Each scheduler has its own file, with its own range.
void WriteWeight(const CgroupFiles& files, const std::string& device, std::uint64_t weight, const char* property) {
  const std::string plain = std::to_string(weight);
  const auto line = [&](const std::string& value) { return device.empty() ? value : device + " " + value; };
  if (files.Has("io.bfq.weight")) return files.Write("io.bfq.weight", line(plain), property);
  if (files.Has("io.weight")) return files.Write("io.weight", line(std::to_string(UnifiedWeight(weight))), property);
  const std::string suffix = device.empty() ? "" : "_device";
  const std::string bfq = "blkio.bfq.weight" + suffix;
  files.Write(files.Has(bfq) ? bfq : "blkio.weight" + suffix, line(plain), property);
}

}  // namespace

std::uint64_t UnifiedWeight(std::uint64_t weight) {
  return 1 + (weight - kLeastWeight) * 9999 / (kMostWeight - kLeastWeight);
}

BlockIo ParseBlockIo(const Field& field) {
  BlockIo limits;
  limits.weight = Weight(field["weight"]);
  if (Weight(field["leafWeight"]) != 0) {
    field["leafWeight"].Refuse("no kernel since 5.0 has a scheduler that knows it");
  }
  for (const Field& item : field["weightDevice"].Items()) {
    if (Weight(item["leafWeight"]) != 0) item["leafWeight"].Refuse("no kernel since 5.0 has a scheduler that knows it");
    if (const std::uint64_t weight = Weight(item["weight"])) limits.weights.push_back({Device(item), weight});
  }
  for (const ThrottleName& name : kThrottles) {
    for (const Field& item : field[name.property].Items()) {
      limits.throttles.push_back({&name, Device(item), item["rate"].Unsigned(INT64_MAX)});
    }
  }
  return limits;
}

void ApplyBlockIo(const BlockIo& limits, const CgroupFiles& files) {
  if (limits.weight != 0) WriteWeight(files, "", limits.weight, "blockIO.weight");
  for (const auto& [device, weight] : limits.weights) WriteWeight(files, device, weight, "blockIO.weightDevice");
  for (const auto& [name, device, rate] : limits.throttles) {
    const std::string property = "blockIO." + std::string(name->property);
    if (files.Has("io.max")) {
      const std::string value = rate == 0 ? "max" : std::to_string(rate);
      files.Write("io.max", device + " " + name->key + "=" + value, property);
    } else {
      files.Write(name->old_file, device + " " + std::to_string(rate), property);
    }
  }
}

}  // namespace gantry
