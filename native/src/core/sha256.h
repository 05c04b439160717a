// SHA-256 (FIPS 180-4) block by block, its state in the open.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace gantry {

using Sha256State = std::array<std::uint32_t, 8>;
inline constexpr std::size_t kSha256BlockBytes = 64;
inline constexpr Sha256State kSha256Initial = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/// Takes `blocks` times 64 bytes, with the CPU's instructions if it has them and `portable` is not asked for.
void Sha256Compress(Sha256State& state, const std::uint8_t* data, std::size_t blocks, bool portable) noexcept;
/// The same for two messages at once, which takes a third less time than one after the other.
void Sha256CompressBoth(Sha256State& one, const std::uint8_t* data, Sha256State& other, const std::uint8_t* other_data,
                        std::size_t blocks) noexcept;

}  // namespace gantry
