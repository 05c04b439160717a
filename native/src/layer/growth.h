// How much of a file there is to read, while somebody still writes to it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <limits>
#include <mutex>

namespace gantry {

class Growth {
 public:
  /// Of a file that nobody writes to any more: where it ends is what reading says.
  static constexpr std::uint64_t kWhole = std::numeric_limits<std::uint64_t>::max();

  /// The first `bytes` are there.
  explicit Growth(std::uint64_t bytes) : bytes_(bytes) {}

  void Reach(std::uint64_t bytes) {
    {
      const std::lock_guard<std::mutex> held(mutex_);
      if (bytes > bytes_) bytes_ = bytes;
    }
    wake_.notify_all();
  }
  /// Nobody waits any longer.
  void Abandon() {
    {
      const std::lock_guard<std::mutex> held(mutex_);
      abandoned_ = true;
    }
    wake_.notify_all();
  }
  /// Waits until there is more than `bytes`. How much is there; `bytes` if it is abandoned.
  std::uint64_t Beyond(std::uint64_t bytes) {
    std::unique_lock<std::mutex> held(mutex_);
    wake_.wait(held, [&] { return abandoned_ || bytes_ > bytes; });
    return abandoned_ ? bytes : bytes_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::uint64_t bytes_;
  bool abandoned_ = false;
};

}  // namespace gantry
