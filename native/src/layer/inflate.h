// DEFLATE (RFC 1951), decoded as it comes: from any number of pieces, into any number of pieces.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace gantry {

/// What is wrong with compressed data, in words.
struct DecodeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline constexpr std::size_t kInflateWindowBytes = 32768;
/// What Run may leave of its input when it asks for more: a block's header.
inline constexpr std::size_t kInflateLeftoverBytes = 1024;

struct InflateCursor;

class Inflate {
 public:
  enum class Status { kNeedsInput, kNeedsOutput, kDone };

  /// Begins a new stream.
  void Reset() noexcept;

  /// Moves `in` and `out` as far as it gets. What is left of the input has to be given again, with more behind it. From
  /// `window` to `out` lies what the stream has given so far, at least the last kInflateWindowBytes of it. Throws
  /// DecodeError. When it is done, `in` is behind the stream's last byte.
  Status Run(const std::uint8_t*& in, const std::uint8_t* in_end, std::uint8_t*& out, std::uint8_t* out_end,
             const std::uint8_t* window);

 private:
  using Entry = std::uint32_t;
  using Cursor = InflateCursor;
  enum class State : std::uint8_t { kBlock, kStored, kSymbols, kDone };
  // Longer codes than these go through a second table.
  static constexpr unsigned kLiteralBits = 11;
  static constexpr unsigned kDistanceBits = 8;
  // With all second tables that a complete code can need.
  static constexpr std::size_t kLiteralEntries = 2400;
  static constexpr std::size_t kDistanceEntries = 512;

  Status Decode(Cursor& at);
  bool BeginBlock(Cursor& at);
  bool ReadCodes(Cursor& at);
  void UseFixedCodes();
  bool CopyStored(Cursor& at);
  bool CopyMatch(Cursor& at);
  Status Symbols(Cursor& at);

  State state_ = State::kBlock;
  bool last_block_ = false;
  std::uint64_t bits_ = 0;  // of a byte that was begun
  unsigned count_ = 0;      // less than 8 between calls
  std::uint32_t stored_left_ = 0;
  std::uint32_t match_left_ = 0;  // of a match that did not fit
  std::uint32_t match_distance_ = 0;
  std::array<Entry, kLiteralEntries> literals_{};
  std::array<Entry, kDistanceEntries> distances_{};
};

}  // namespace gantry
