// A running hash whose state can leave the process and come back: what makes an upload resumable without reading it
// again.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/sha256.h"
#include "core/sha512.h"

namespace gantry {

enum class HashAlgorithm : std::uint8_t { kSha256 = 1, kSha512 = 2 };

class Hash {
 public:
  /// `portable` forgoes the CPU's instructions.
  explicit Hash(HashAlgorithm algorithm, bool portable = false);
  /// The inverse of Export. Throws std::invalid_argument, which says what is wrong.
  static Hash Import(std::span<const std::uint8_t> exported);

  HashAlgorithm algorithm() const noexcept { return algorithm_; }
  std::uint64_t bytes_hashed() const noexcept { return bytes_hashed_; }
  void Update(std::span<const std::uint8_t> data);
  /// Each takes its own, in less time than one after the other.
  static void UpdateBoth(Hash& one, std::span<const std::uint8_t> data, Hash& other,
                         std::span<const std::uint8_t> other_data);
  /// Version, algorithm, count (8 bytes, big-endian), chaining words (big-endian), the bytes of an unfinished block.
  std::vector<std::uint8_t> Export() const;
  /// Of all bytes so far, lower case; the hash goes on.
  std::string DigestHex() const;

 private:
  std::size_t block_bytes() const noexcept;
  /// Ends the unfinished block, as far as `data` goes. Returns the rest.
  std::span<const std::uint8_t> Complete(std::span<const std::uint8_t> data);
  void Compress(const std::uint8_t* data, std::size_t blocks) noexcept;

  HashAlgorithm algorithm_;
  bool portable_;
  std::variant<Sha256State, Sha512State> state_;
  std::uint64_t bytes_hashed_ = 0;
  std::vector<std::uint8_t> pending_;  // always less than a block
};

}  // namespace gantry
