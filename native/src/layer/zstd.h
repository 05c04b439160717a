// zstd (RFC 8878), by the decoder that Node brings: its symbols are there for whoever is loaded into it. Any number of
// frames one after the other, skippable ones among them.
#pragma once

#include <cstdint>

namespace gantry {

class Zstd {
 public:
  /// In a Node that keeps its decoder to itself, and in other programs, there is none.
  static bool IsThere();

  /// Throws DecodeError if there is none.
  Zstd();
  ~Zstd();
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;

  /// Moves `in` and `out` as far as it gets: to the end of one of them. Throws DecodeError. True if it may have more to
  /// give without any input.
  bool Decode(const std::uint8_t*& in, const std::uint8_t* in_end, std::uint8_t*& out, std::uint8_t* out_end);
  /// The input has ended. Throws DecodeError if there should have been more.
  void Finish() const;

 private:
  void* const context_;
  bool is_between_frames_ = true;
};

}  // namespace gantry
