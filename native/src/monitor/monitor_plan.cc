#include "monitor/monitor_plan.h"

#include <algorithm>
#include <csignal>
#include <initializer_list>

#include "runtime/field.h"
#include "runtime/json.h"
#include "runtime/lookup.h"

namespace gantry {
namespace {

constexpr std::int64_t kLongestMs = std::int64_t{366} * 24 * 3600 * 1000;

void OnlyMembers(const Field& field, std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : field.Members()) {
    if (std::ranges::find(known, name) == known.end()) value.Refuse("is not known");
  }
}

template <typename Value>
Value OneOf(const Field& field, std::initializer_list<std::pair<std::string_view, Value>> words) {
  const std::string word = field.String();
  std::string known;
  for (const auto& [name, value] : words) {
    if (name == word) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  field.Refuse("must be one of " + known + ", not " + QuoteJson(word));
}

LogPlan ParseLog(const Field& field) {
  OnlyMembers(field, {"driver", "maxSizeBytes", "maxFiles"});
  return {.driver = OneOf<LogPlan::Driver>(field["driver"], {{"json-file", LogPlan::Driver::kJsonFile},
                                                             {"plain", LogPlan::Driver::kPlain},
                                                             {"none", LogPlan::Driver::kNone}}),
          .max_size_bytes = field["maxSizeBytes"].Integer(0, INT64_MAX),
          .max_files = static_cast<int>(field["maxFiles"].Integer(1, 1000))};
}

std::optional<HealthPlan> ParseHealth(const Field& field) {
  if (!field.Present()) return std::nullopt;
  OnlyMembers(field, {"command", "intervalMs", "timeoutMs", "startPeriodMs", "startIntervalMs", "retries"});
  HealthPlan plan{.command = field["command"].Strings(),
                  .interval_ms = field["intervalMs"].Integer(1, kLongestMs),
                  .timeout_ms = field["timeoutMs"].Integer(1, kLongestMs),
                  .start_period_ms = field["startPeriodMs"].Integer(0, kLongestMs),
                  .start_interval_ms = field["startIntervalMs"].Integer(1, kLongestMs),
                  .retries = static_cast<int>(field["retries"].Integer(1, INT32_MAX))};
  if (plan.command.empty()) field["command"].Refuse("must name a program");
  return plan;
}

std::string AbsolutePath(const Field& field) {
  std::string path = field.String();
  if (!path.starts_with('/')) field.Refuse("must be an absolute path");
  return path;
}

}  // namespace

RestartPlan ParseRestart(const Field& field) {
  OnlyMembers(field, {"policy", "maximumRetries"});
  return {.policy = OneOf<RestartPlan::Policy>(field["policy"], {{"no", RestartPlan::Policy::kNo},
                                                                 {"on-failure", RestartPlan::Policy::kOnFailure},
                                                                 {"always", RestartPlan::Policy::kAlways},
                                                                 {"unless-stopped", RestartPlan::Policy::kAlways}}),
          .maximum_retries = static_cast<int>(field["maximumRetries"].Integer(0, INT32_MAX))};
}

MonitorPlan ParseMonitorPlan(std::string_view document) {
  const Json json = ParseJson(document);
  const Field root(&json, "");
  OnlyMembers(root, {"version", "id", "stateRoot", "terminal", "lasting", "stdin", "ownNetwork", "log", "restart",
                     "stop", "health", "onExit"});
  if (root["version"].Integer(0, INT32_MAX) != 1) root["version"].Refuse("must be 1, which is all that is known here");
  for (const char* name : {"terminal", "ownNetwork"}) {
    if (!root[name].Present()) root[name].Refuse("is required");
  }
  MonitorPlan plan{
      .id = root["id"].String(),
      .state_root = AbsolutePath(root["stateRoot"]),
      .terminal = root["terminal"].BoolOr(false),
      .lasting = root["lasting"].BoolOr(true),
      .input = OneOf<InputMode>(root["stdin"],
                                {{"none", InputMode::kNone}, {"open", InputMode::kOpen}, {"once", InputMode::kOnce}}),
      .own_network = root["ownNetwork"].BoolOr(false),
      .log = ParseLog(root["log"]),
      .restart = ParseRestart(root["restart"]),
      .stop_signal = static_cast<int>(root["stop"]["signal"].Integer(1, NSIG - 1)),
      .stop_timeout_ms = root["stop"]["timeoutMs"].Integer(-1, kLongestMs),
      .health = ParseHealth(root["health"]),
      .on_exit = root["onExit"]["args"].Strings(),
      .on_exit_environment = root["onExit"]["env"].Strings()};
  OnlyMembers(root["stop"], {"signal", "timeoutMs"});
  OnlyMembers(root["onExit"], {"args", "env"});
  if (root["onExit"].Present())
    AbsolutePath(root["onExit"]["args"].Items().empty() ? root["onExit"]["args[0]"]
                                                        : root["onExit"]["args"].Items()[0]);
  return plan;
}

}  // namespace gantry
