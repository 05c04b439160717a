// The checksum of gzip (RFC 1952, section 8).
#pragma once

#include <cstdint>
#include <span>

namespace gantry {

/// Of what gave `crc` (0 at the beginning), followed by `data`. `portable` forgoes the CPU's instructions.
std::uint32_t Crc32(std::uint32_t crc, std::span<const std::uint8_t> data, bool portable = false) noexcept;

}  // namespace gantry
