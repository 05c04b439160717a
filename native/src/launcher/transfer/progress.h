// What client/images/progress.ts says of blobs on their way, where standard error is no terminal: a line for the
// beginning and for the end of each.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace gantry {

/// Said at the end, so that Node has to do nothing twice should it have to go on; or at once, when that takes too long.
class TransferProgress {
 public:
  void Say(std::string_view digest, std::string_view what);
  void End();

 private:
  std::mutex mutex_;
  std::string held_;
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

/// Decimal units with three digits.
std::string PrintBytes(std::uint64_t bytes);

}  // namespace gantry
