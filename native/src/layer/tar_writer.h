// Archives that every tar reads (POSIX.1-2017): ustar headers, and pax records for what these have no room for.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "layer/tar_entry.h"

namespace gantry {

class TarWriter {
 public:
  using Write = std::function<void(std::string_view)>;

  explicit TarWriter(Write write) : write_(std::move(write)) {}

  /// A directory's path ends without a slash. Of a file, `size` bytes follow. Throws LayerError for what no tar can
  /// say.
  void Begin(const TarEntry& entry);
  void Content(std::string_view bytes);
  /// Behind the content of a file, and nothing else.
  void End();
  /// Behind the last entry.
  void Finish();

 private:
  void Pad();

  Write write_;
  std::uint64_t written_ = 0;  // of the content since the last header
};

}  // namespace gantry
