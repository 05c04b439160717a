// Whether, and when, a container that has ended is started again: docker's policies and docker's pace.
#pragma once

#include <cstdint>
#include <optional>

namespace gantry {

struct RestartPlan {
  /// `unless-stopped` is `always` here: they differ only in what is started again after a boot.
  enum class Policy { kNo, kOnFailure, kAlways };
  Policy policy = Policy::kNo;
  int maximum_retries = 0;  // of on-failure; 0: no limit
};

class Restarts {
 public:
  explicit Restarts(RestartPlan plan) : plan_(plan) {}

  /// The pause before the next start, in ms: from 100, doubled each time up to a minute, and from 100 again once the
  /// container has run for 10 s. Nothing: it stays ended. Counts what it grants.
  std::optional<std::int64_t> Next(int exit_code, std::int64_t ran_ms);
  int count() const { return count_; }
  /// From now on; what was counted stays.
  void Change(RestartPlan plan) { plan_ = plan; }

 private:
  RestartPlan plan_;
  int count_ = 0;
  std::int64_t pause_ms_ = 0;
};

}  // namespace gantry
