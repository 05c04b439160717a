// gzip (RFC 1952): any number of members one after the other, each with its checksum and length.
#pragma once

#include <cstdint>

#include "layer/inflate.h"

namespace gantry {

/// A header may be so long: names and comments have no limit of their own.
inline constexpr std::size_t kGzipHeaderBytes = 128 << 10;

class Gzip {
 public:
  /// Moves `in` and `out` as far as it gets. What is left of the input has to be given again, with more behind it; it
  /// is less than kGzipHeaderBytes. The last kInflateWindowBytes of what came before lie from `window` to `out`. Throws
  /// DecodeError. True if it wants room, false if it wants input.
  bool Decode(const std::uint8_t*& in, const std::uint8_t* in_end, std::uint8_t*& out, std::uint8_t* out_end,
              const std::uint8_t* window);
  /// The input has ended, and `leftover` bytes were not taken. Throws DecodeError if there should have been more.
  void Finish(std::size_t leftover) const;

 private:
  enum class State : std::uint8_t { kHeader, kBody, kTrailer };

  State state_ = State::kHeader;
  Inflate inflate_;
  std::uint32_t crc_ = 0;
  std::uint64_t member_bytes_ = 0;  // that came out
};

}  // namespace gantry
