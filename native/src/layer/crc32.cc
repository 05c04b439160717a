#include "layer/crc32.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace gantry {
namespace {

constexpr std::uint32_t kPolynomial = 0xedb88320;  // bits reversed: the highest power of x is the lowest bit
constexpr std::size_t kSlices = 8;

constexpr std::uint32_t TimesX(std::uint32_t value) { return value >> 1 ^ (value & 1 ? kPolynomial : 0); }

/// What a byte that is followed by so many others does to the checksum.
constexpr auto kTables = [] {
  std::array<std::array<std::uint32_t, 256>, kSlices> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = TimesX(value);
    tables[0][byte] = value;
  }
  for (std::size_t slice = 1; slice < kSlices; ++slice) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[slice - 1][byte];
      tables[slice][byte] = before >> 8 ^ tables[0][before & 0xff];
    }
  }
  return tables;
}();

/// Without the inversions at both ends.
std::uint32_t Raw(std::uint32_t crc, const std::uint8_t* data, std::size_t size) noexcept {
  for (; size >= kSlices; data += kSlices, size -= kSlices) {
    std::uint64_t word;
    std::memcpy(&word, data, sizeof word);
    word ^= crc;
    crc = 0;
    for (std::size_t byte = 0; byte < kSlices; ++byte) crc ^= kTables[kSlices - 1 - byte][word >> (8 * byte) & 0xff];
  }
  for (; size > 0; ++data, --size) crc = crc >> 8 ^ kTables[0][(crc ^ *data) & 0xff];
  return crc;
}

#if defined(__x86_64__)

/// x to the power of `exponent`, modulo the polynomial, as the carry-less multiplication of reversed operands wants it.
constexpr std::uint64_t Power(int exponent) {
  std::uint32_t value = 0x80000000;  // 1
  for (int i = 0; i < exponent; ++i) value = TimesX(value);
  return std::uint64_t{value} << 1;
}

constexpr int kLanes = 4;
constexpr std::size_t kLaneBytes = 16;
constexpr std::size_t kStepBytes = kLanes * kLaneBytes;

/// Moves `value` forward, over as many bits as `powers` stand for, and takes up what lies there.
__attribute__((target("pclmul,sse4.1"), always_inline)) inline __m128i Fold(__m128i value, __m128i powers,
                                                                            __m128i next) {
  const __m128i low = _mm_clmulepi64_si128(value, powers, 0x00);
  const __m128i high = _mm_clmulepi64_si128(value, powers, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/// Four lanes are folded over each other, then into one, whose remainder is left to the tables. At least kStepBytes.
__attribute__((target("pclmul,sse4.1"))) std::uint32_t Folded(std::uint32_t crc, const std::uint8_t* data,
                                                              std::size_t size) noexcept {
  // The lower half of a lane lies 64 bits before the upper one.
  constexpr std::uint64_t kStepLow = Power(8 * kStepBytes + 32), kStepHigh = Power(8 * kStepBytes - 32);
  constexpr std::uint64_t kLaneLow = Power(8 * kLaneBytes + 32), kLaneHigh = Power(8 * kLaneBytes - 32);
  static_assert(kStepLow == 0x154442bd4 && kStepHigh == 0x1c6e41596);
  const __m128i step = _mm_set_epi64x(static_cast<long long>(kStepHigh), static_cast<long long>(kStepLow));
  const __m128i lane = _mm_set_epi64x(static_cast<long long>(kLaneHigh), static_cast<long long>(kLaneLow));
  const auto load = [&data](int index) { return reinterpret_cast<const __m128i*>(data) + index; };
  __m128i lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = _mm_loadu_si128(load(i));
  lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi32_si128(static_cast<int>(crc)));
  for (data += kStepBytes, size -= kStepBytes; size >= kStepBytes; data += kStepBytes, size -= kStepBytes) {
    for (int i = 0; i < kLanes; ++i) lanes[i] = Fold(lanes[i], step, _mm_loadu_si128(load(i)));
  }
  __m128i folded = lanes[0];
  for (int i = 1; i < kLanes; ++i) folded = Fold(folded, lane, lanes[i]);
  for (; size >= kLaneBytes; data += kLaneBytes, size -= kLaneBytes)
    folded = Fold(folded, lane, _mm_loadu_si128(load(0)));
  std::uint8_t remainder[kLaneBytes];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(remainder), folded);
  return Raw(Raw(0, remainder, sizeof remainder), data, size);
}

std::uint32_t Accelerated(std::uint32_t crc, const std::uint8_t* data, std::size_t size) noexcept {
  return size < kStepBytes ? Raw(crc, data, size) : Folded(crc, data, size);
}

const bool kAccelerates = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");

#elif defined(__aarch64__)

/// This polynomial has instructions there, eight bytes each.
__attribute__((target("+crc"))) std::uint32_t Accelerated(std::uint32_t crc, const std::uint8_t* data,
                                                          std::size_t size) noexcept {
  for (; size >= sizeof(std::uint64_t); data += sizeof(std::uint64_t), size -= sizeof(std::uint64_t)) {
    std::uint64_t word;
    std::memcpy(&word, data, sizeof word);
    crc = __crc32d(crc, word);
  }
  for (; size > 0; ++data, --size) crc = __crc32b(crc, *data);
  return crc;
}

const bool kAccelerates = (::getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;

#else

constexpr bool kAccelerates = false;
constexpr auto Accelerated = Raw;

#endif

}  // namespace

std::uint32_t Crc32(std::uint32_t crc, std::span<const std::uint8_t> data, bool portable) noexcept {
  return ~(kAccelerates && !portable ? Accelerated : Raw)(~crc, data.data(), data.size());
}

}  // namespace gantry
