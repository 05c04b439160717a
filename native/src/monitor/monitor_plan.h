// monitor.json: what a monitor is to do with its container, written before it starts. `MonitorPlan` of
// native/monitor.ts is the same document; every member is required but `health` and `onExit`, and what is not known is
// refused.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/health.h"
#include "monitor/log_file.h"
#include "monitor/restart.h"

namespace gantry {

inline constexpr const char* kMonitorPlanFile = "monitor.json";

/// The descriptor by which a monitor holds its container's network namespace. config.json joins it as
/// /proc/self/fd/64: it is opened by the monitor itself, at each start of the container.
inline constexpr int kOwnNetwork = 64;

/// Where the container's standard input comes from.
enum class InputMode {
  kNone,  // nowhere: it is at its end
  kOpen,  // whoever attaches; it stays open when they go (docker's OpenStdin)
  kOnce,  // the first who attaches with it; it ends when they go, unless it is a terminal (docker's StdinOnce)
};

struct MonitorPlan {
  std::string id;
  std::string state_root;
  bool terminal = false;  // as process.terminal of config.json
  bool lasting = true;    // what became of it is known after a loss of power, too
  InputMode input = InputMode::kNone;
  bool own_network = false;  // the monitor makes a network namespace and holds it (kOwnNetwork)
  LogPlan log;
  RestartPlan restart;
  int stop_signal = 0;
  std::int64_t stop_timeout_ms = 0;  // -1: for ever
  std::optional<HealthPlan> health;
  std::vector<std::string> on_exit;  // a program of the host and its arguments; empty: none
  std::vector<std::string> on_exit_environment;
};

/// Throws ConfigError, JsonError.
MonitorPlan ParseMonitorPlan(std::string_view document);

class Field;
/// { policy, maximumRetries }, of the plan or of a request. Throws ConfigError.
RestartPlan ParseRestart(const Field& field);

}  // namespace gantry
