// A queue between threads that knows its end.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace gantry {

template <typename Item>
class Channel {
 public:
  /// False if it is closed.
  bool Push(Item item) {
    {
      const std::lock_guard<std::mutex> held(mutex_);
      if (closed_) return false;
      items_.push_back(std::move(item));
    }
    wake_.notify_one();
    return true;
  }
  /// Waits. Nothing if it is closed and empty.
  std::optional<Item> Pop() {
    std::unique_lock<std::mutex> held(mutex_);
    wake_.wait(held, [this] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    std::optional<Item> item(std::move(items_.front()));
    items_.pop_front();
    return item;
  }
  std::size_t size() {
    const std::lock_guard<std::mutex> held(mutex_);
    return items_.size();
  }
  void Close() {
    {
      const std::lock_guard<std::mutex> held(mutex_);
      closed_ = true;
    }
    wake_.notify_all();
  }
  /// Closes it, and drops what waits.
  void Abandon() {
    std::deque<Item> dropped;  // destroyed without the lock: items may come back here
    {
      const std::lock_guard<std::mutex> held(mutex_);
      closed_ = true;
      dropped.swap(items_);
    }
    wake_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> items_;
  bool closed_ = false;
};

}  // namespace gantry
