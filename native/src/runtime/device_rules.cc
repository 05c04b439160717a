#include "runtime/device_rules.h"

#include <algorithm>

#include "runtime/cgroup.h"
#include "runtime/cgroup_files.h"
#include "runtime/device_filter.h"

namespace gantry {
namespace {

std::optional<std::uint32_t> Number(const Field& field) {
  if (!field.Present()) return std::nullopt;
  const std::int64_t value = field.Integer(-1, UINT32_MAX);
  return value < 0 ? std::nullopt : std::optional(static_cast<std::uint32_t>(value));
}

std::string Print(const DeviceRule& rule) {
  const auto number = [](const auto& value) { return value ? std::to_string(*value) : "*"; };
  return std::string(1, rule.type) + " " + number(rule.major) + ":" + number(rule.minor) + " " + rule.access;
}

const DeviceRule kAlways[] = {
    {true, 'c', {}, {}, "m"}, {true, 'b', {}, {}, "m"}, {true, 'c', 1, 3, "rwm"},    {true, 'c', 1, 5, "rwm"},
    {true, 'c', 1, 7, "rwm"}, {true, 'c', 1, 8, "rwm"}, {true, 'c', 1, 9, "rwm"},    {true, 'c', 5, 0, "rwm"},
    {true, 'c', 5, 1, "rwm"}, {true, 'c', 5, 2, "rwm"}, {true, 'c', 136, {}, "rwm"},
};

}  // namespace

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

void ApplyDeviceRules(const std::vector<DeviceRule>& rules, const std::vector<std::string>& directories) {
  if (rules.empty()) return;
  std::vector<DeviceRule> all = rules;
  all.insert(all.end(), std::begin(kAlways), std::end(kAlways));
  const CgroupFiles files(directories);
  const std::string unified = UnifiedDirectory(directories);
  if (!files.Has("devices.deny") && !unified.empty()) return AttachDeviceFilter(all, unified);
  for (const DeviceRule& rule : all) {
    files.Write(rule.allow ? "devices.allow" : "devices.deny", Print(rule), "devices");
  }
}

}  // namespace gantry
