// One turn of an event loop: what is waited for, and what is done about it. Made anew for each turn, so that nothing
// has to be remembered about what is watched.
#pragma once

#include <poll.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace gantry {

/// Milliseconds of the clock that never jumps.
std::int64_t MonotonicMs();

class PollSet {
 public:
  using Act = std::function<void(short events)>;

  /// No descriptor (-1) or no events: nothing.
  void Watch(int fd, short events, Act act);
  /// Something is due at that time (of MonotonicMs), so wait no longer.
  void Until(std::int64_t time_ms);
  /// Waits, then acts on what has happened, in the order of Watch. False if nothing has. Throws SysError.
  bool Turn();

 private:
  std::vector<pollfd> polls_;
  std::vector<Act> acts_;
  std::int64_t until_ms_ = -1;
};

}  // namespace gantry
