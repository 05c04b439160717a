// That work in several threads is to end: one of them has failed, or the user wants it.
#pragma once

#include <atomic>

#include "core/sys.h"

namespace gantry {

/// From its beginning on SIGINT and SIGTERM stop the work, once: a second one ends the process. One at a time.
class Stop {
 public:
  Stop();
  Stop(const Stop&) = delete;
  Stop& operator=(const Stop&) = delete;
  ~Stop();

  void Raise() noexcept;
  /// Throws Unclear once it was raised.
  void Check() const;
  /// By a signal.
  bool IsWanted() const { return is_wanted_; }
  /// Readable once it was raised.
  int fd() const { return event_.get(); }

 private:
  static void OnSignal(int signal);

  UniqueFd event_;
  std::atomic<bool> is_raised_ = false;
  std::atomic<bool> is_wanted_ = false;
};

}  // namespace gantry
