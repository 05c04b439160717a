#include "monitor/restart.h"

#include <algorithm>

namespace gantry {
namespace {

constexpr std::int64_t kFirstPauseMs = 100;
constexpr std::int64_t kLongestPauseMs = 60'000;
constexpr std::int64_t kStableMs = 10'000;

}  // namespace

std::optional<std::int64_t> Restarts::Next(int exit_code, std::int64_t ran_ms) {
  if (ran_ms >= kStableMs) pause_ms_ = 0;
  switch (plan_.policy) {
    case RestartPlan::Policy::kNo:
      return std::nullopt;
    case RestartPlan::Policy::kOnFailure:
      if (exit_code == 0 || (plan_.maximum_retries > 0 && count_ >= plan_.maximum_retries)) return std::nullopt;
      break;
    case RestartPlan::Policy::kAlways:
      break;
  }
  pause_ms_ = pause_ms_ == 0 ? kFirstPauseMs : std::min(pause_ms_ * 2, kLongestPauseMs);
  ++count_;
  return pause_ms_;
}

}  // namespace gantry
