// A layer's blob, read from a descriptor and decompressed into memory of the caller's.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/sys.h"
#include "layer/growth.h"
#include "layer/gzip.h"
#include "layer/zstd.h"

namespace gantry {

enum class Compression : std::uint8_t { kNone, kGzip, kZstd };

class LayerStream {
 public:
  /// Reads `fd` from where it stands, `read_bytes` at a time and never beyond `growth`, until `cancelled`, an eventfd,
  /// is set. Owns none of them.
  LayerStream(int fd, Growth& growth, Compression compression, int cancelled,
              std::size_t read_bytes = std::size_t{256} << 10);

  /// Fills what is between `out` and `out_end`; fewer bytes only at the end. From `window` to `out` lies what came
  /// before, at least the last kInflateWindowBytes. Resolves to the end of what was written. Throws SysError,
  /// DecodeError.
  std::uint8_t* Fill(std::uint8_t* out, std::uint8_t* out_end, const std::uint8_t* window);

  /// Of the blob, so far.
  std::uint64_t bytes_read() const noexcept { return bytes_read_; }

 private:
  std::size_t Read(std::uint8_t* into, std::size_t most);
  std::uint8_t* FillFromZstd(std::uint8_t* out, std::uint8_t* out_end);

  const int fd_;
  Growth& growth_;
  const int cancelled_;
  const Compression compression_;
  const std::size_t read_bytes_;
  Gzip gzip_;
  std::optional<Zstd> zstd_;
  bool has_more_ = false;  // it has, without more input
  std::vector<std::uint8_t> buffer_;
  const std::uint8_t* in_;  // what was read and not taken yet
  const std::uint8_t* in_end_;
  bool ended_ = false;
  std::uint64_t bytes_read_ = 0;
};

}  // namespace gantry
