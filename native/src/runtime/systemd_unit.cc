#include "runtime/systemd_unit.h"

#include <algorithm>

#include "core/own_ids.h"
#include "runtime/config_error.h"
#include "runtime/json.h"
#include "runtime/user_namespace.h"

namespace gantry {
namespace {

constexpr std::size_t kMostNameBytes = 255;

/// systemd.unit(5): "ASCII letters, digits, and the characters : - _ . and \".
bool IsUnitName(std::string_view name) {
  const auto legal = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(":-_.\\").find(c) != std::string_view::npos;
  };
  return !name.empty() && name.size() <= kMostNameBytes && std::ranges::all_of(name, legal);
}

}  // namespace

ScopePlan ParseScope(std::string_view cgroups_path, std::string_view id) {
  const auto refuse = [&](const std::string& why) {
    throw ConfigError("linux.cgroupsPath: " + why + ", not " + QuoteJson(std::string(cgroups_path)));
  };
  std::string_view slice;
  std::string_view prefix = "gantry";
  std::string_view name = id;
  if (!cgroups_path.empty()) {
    const auto first = cgroups_path.find(':');
    const auto second = first == std::string_view::npos ? first : cgroups_path.find(':', first + 1);
    if (second == std::string_view::npos || cgroups_path.find('/') != std::string_view::npos) {
      refuse("must be of the form slice:prefix:name for systemd");
    }
    slice = cgroups_path.substr(0, first);
    prefix = cgroups_path.substr(first + 1, second - first - 1);
    name = cgroups_path.substr(second + 1);
  }
  ScopePlan plan;
  plan.name.of_user = !IsPrivileged() || !OwnIds::Get().IsHost();
  plan.slice = slice.empty() ? plan.name.of_user ? "user.slice" : "system.slice" : slice;
  if (!IsUnitName(plan.slice) || !plan.slice.ends_with(".slice")) refuse("must begin with the name of a slice");
  plan.name.unit = std::string(prefix) + (prefix.empty() ? "" : "-") + std::string(name) + ".scope";
  if (name.empty() || !IsUnitName(plan.name.unit)) {
    refuse("must make the name of a unit (letters, digits and :-_. only, at most 255 in all)");
  }
  return plan;
}

}  // namespace gantry
