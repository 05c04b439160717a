// What health checks come to: docker's rules about streaks, start period and the last results. No clock, no process:
// whoever runs the checks says when and how they ended.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace gantry {

struct HealthPlan {
  std::vector<std::string> command;
  std::int64_t interval_ms = 0;        // from the end of a check to the beginning of the next
  std::int64_t timeout_ms = 0;         // a check that takes longer has failed
  std::int64_t start_period_ms = 0;    // failures in it count for nothing, until one has succeeded
  std::int64_t start_interval_ms = 0;  // instead of `interval_ms`, in that period
  int retries = 0;                     // failures in a row that make it unhealthy
};

struct ProbeResult {
  std::string start;  // RFC 3339
  std::string end;
  int exit_code = 0;  // -1: it could not be run, or took too long
  std::string output;
};

class Health {
 public:
  explicit Health(HealthPlan plan) : plan_(std::move(plan)) {}

  const HealthPlan& plan() const { return plan_; }
  /// The container has just started: nothing is known.
  void Begin();
  /// How long to wait for the next check, for a container that has run so long.
  std::int64_t PauseMs(std::int64_t running_ms) const;
  /// `began_ms`: how long the container had run when the check began.
  void Record(ProbeResult result, std::int64_t began_ms);

  const char* status() const;
  int failing_streak() const { return failing_streak_; }
  /// The last five, the oldest first.
  const std::deque<ProbeResult>& results() const { return results_; }

 private:
  enum class Status { kStarting, kHealthy, kUnhealthy };
  bool InStartPeriod(std::int64_t running_ms) const {
    return status_ == Status::kStarting && running_ms < plan_.start_period_ms;
  }

  HealthPlan plan_;
  Status status_ = Status::kStarting;
  int failing_streak_ = 0;
  std::deque<ProbeResult> results_;
};

}  // namespace gantry
