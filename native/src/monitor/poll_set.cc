#include "monitor/poll_set.h"

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "core/sys.h"

namespace gantry {

std::int64_t MonotonicMs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

void PollSet::Watch(int fd, short events, Act act) {
  if (fd < 0) return;
  polls_.push_back({fd, events, 0});
  acts_.push_back(std::move(act));
}

void PollSet::Until(std::int64_t time_ms) { until_ms_ = until_ms_ < 0 ? time_ms : std::min(until_ms_, time_ms); }

bool PollSet::Turn() {
  constexpr std::int64_t kLongest = 3600 * 1000;
  // One more, since the clock's milliseconds are cut, and too early would be a turn for nothing.
  const std::int64_t wait = until_ms_ < 0 ? -1 : std::clamp<std::int64_t>(until_ms_ - MonotonicMs() + 1, 0, kLongest);
  const int count = ::poll(polls_.data(), polls_.size(), static_cast<int>(wait));
  if (count < 0 && errno == EINTR) return false;
  if (count < 0) throw SysError(errno, "wait for events");
  for (std::size_t i = 0; i < polls_.size(); ++i) {
    if (polls_[i].revents != 0) acts_[i](polls_[i].revents);
  }
  return count > 0;
}

}  // namespace gantry
