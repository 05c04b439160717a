// SHA-512 (FIPS 180-4) block by block, its state in the open.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace gantry {

using Sha512State = std::array<std::uint64_t, 8>;
inline constexpr std::size_t kSha512BlockBytes = 128;
inline constexpr Sha512State kSha512Initial = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b,
                                               0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
                                               0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

/// Takes `blocks` times 128 bytes.
void Sha512Compress(Sha512State& state, const std::uint8_t* data, std::size_t blocks) noexcept;

}  // namespace gantry
