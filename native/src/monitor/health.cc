#include "monitor/health.h"

namespace gantry {
namespace {

constexpr std::size_t kKeptResults = 5;

}  // namespace

void Health::Begin() {
  status_ = Status::kStarting;
  failing_streak_ = 0;
  results_.clear();
}

std::int64_t Health::PauseMs(std::int64_t running_ms) const {
  return InStartPeriod(running_ms) ? plan_.start_interval_ms : plan_.interval_ms;
}

void Health::Record(ProbeResult result, std::int64_t began_ms) {
  if (result.exit_code == 0) {
    failing_streak_ = 0;
    status_ = Status::kHealthy;
  } else if (!InStartPeriod(began_ms)) {
    ++failing_streak_;
    if (failing_streak_ >= plan_.retries) status_ = Status::kUnhealthy;
  }
  results_.push_back(std::move(result));
  if (results_.size() > kKeptResults) results_.pop_front();
}

const char* Health::status() const {
  switch (status_) {
    case Status::kStarting:
      return "starting";
    case Status::kHealthy:
      return "healthy";
    case Status::kUnhealthy:
      return "unhealthy";
  }
  return "";
}

}  // namespace gantry
