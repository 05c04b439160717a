#include "core/sha256.h"

#include <bit>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace gantry {
namespace {

alignas(64) constexpr std::uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t BigEndian(const std::uint8_t* at) noexcept {
  return static_cast<std::uint32_t>(at[0]) << 24 | static_cast<std::uint32_t>(at[1]) << 16 |
         static_cast<std::uint32_t>(at[2]) << 8 | static_cast<std::uint32_t>(at[3]);
}

void CompressPortable(Sha256State& state, const std::uint8_t* data, std::size_t blocks) noexcept {
  for (; blocks > 0; --blocks, data += kSha256BlockBytes) {
    std::uint32_t w[64];
    for (int i = 0; i < 16; ++i) w[i] = BigEndian(data + 4 * i);
    for (int i = 16; i < 64; ++i) {
      const std::uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
      const std::uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (int i = 0; i < 64; ++i) {
      const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
      const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const std::uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = d + t1;
      d = c;
      c = b;
      b = a;
      a = t1 + t2;
    }
    const Sha256State worked = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < worked.size(); ++i) state[i] += worked[i];
  }
}

#if defined(__x86_64__)

bool HasShaInstructions() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_SSSE3) == 0 || (c & bit_SSE4_1) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & (1u << 29)) != 0;
}

/// The instructions keep the state as ABEF and CDGH and do two rounds each (Intel SDM, volume 2, SHA256RNDS2). Each
/// waits for the one before: a processor has time for a second message meanwhile.
template <std::size_t kMessages>
__attribute__((target("sha,sse4.1,ssse3"))) void CompressAccelerated(const std::array<Sha256State*, kMessages>& states,
                                                                     std::array<const std::uint8_t*, kMessages> data,
                                                                     std::size_t blocks) noexcept {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  __m128i abef[kMessages];
  __m128i cdgh[kMessages];
  for (std::size_t m = 0; m < kMessages; ++m) {
    const auto* words = reinterpret_cast<const __m128i*>(states[m]->data());
    const __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xb1);
    const __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1b);
    abef[m] = _mm_alignr_epi8(dcba, hgfe, 8);
    cdgh[m] = _mm_blend_epi16(hgfe, dcba, 0xf0);
  }

  for (; blocks > 0; --blocks) {
    __m128i abef_before[kMessages];
    __m128i cdgh_before[kMessages];
    __m128i w[kMessages][4];
    for (std::size_t m = 0; m < kMessages; ++m) {
      abef_before[m] = abef[m];
      cdgh_before[m] = cdgh[m];
      for (int i = 0; i < 4; ++i) {
        w[m][i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data[m]) + i), big_endian);
      }
      data[m] += kSha256BlockBytes;
    }
#pragma GCC unroll 16
    for (int group = 0; group < 16; ++group) {
      const __m128i constants = _mm_load_si128(reinterpret_cast<const __m128i*>(kRound) + group);
#pragma GCC unroll 2
      for (std::size_t m = 0; m < kMessages; ++m) {
        const __m128i current = w[m][group & 3];
        const __m128i keyed = _mm_add_epi32(current, constants);
        cdgh[m] = _mm_sha256rnds2_epu32(cdgh[m], abef[m], keyed);
        abef[m] = _mm_sha256rnds2_epu32(abef[m], cdgh[m], _mm_shuffle_epi32(keyed, 0x0e));
        if (group < 12) {
          // The four words sixteen further on take the place of those just used.
          const __m128i next = w[m][(group + 1) & 3];
          const __m128i later = w[m][(group + 2) & 3];
          const __m128i last = w[m][(group + 3) & 3];
          const __m128i made = _mm_add_epi32(_mm_sha256msg1_epu32(current, next), _mm_alignr_epi8(last, later, 4));
          w[m][group & 3] = _mm_sha256msg2_epu32(made, last);
        }
      }
    }
    for (std::size_t m = 0; m < kMessages; ++m) {
      abef[m] = _mm_add_epi32(abef[m], abef_before[m]);
      cdgh[m] = _mm_add_epi32(cdgh[m], cdgh_before[m]);
    }
  }

  for (std::size_t m = 0; m < kMessages; ++m) {
    auto* words = reinterpret_cast<__m128i*>(states[m]->data());
    const __m128i feba = _mm_shuffle_epi32(abef[m], 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(cdgh[m], 0xb1);
    _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
  }
}

#elif defined(__aarch64__)

bool HasShaInstructions() noexcept { return (::getauxval(AT_HWCAP) & HWCAP_SHA2) != 0; }

/// The instructions keep the state as it is and do four rounds each (Arm Architecture Reference Manual, SHA256H). With
/// g++ 12 they are part of "crypto" alone.
template <std::size_t kMessages>
__attribute__((target("+crypto"))) void CompressAccelerated(const std::array<Sha256State*, kMessages>& states,
                                                            std::array<const std::uint8_t*, kMessages> data,
                                                            std::size_t blocks) noexcept {
  uint32x4_t abcd[kMessages];
  uint32x4_t efgh[kMessages];
  for (std::size_t m = 0; m < kMessages; ++m) {
    abcd[m] = vld1q_u32(states[m]->data());
    efgh[m] = vld1q_u32(states[m]->data() + 4);
  }

  for (; blocks > 0; --blocks) {
    uint32x4_t abcd_before[kMessages];
    uint32x4_t efgh_before[kMessages];
    uint32x4_t w[kMessages][4];
    for (std::size_t m = 0; m < kMessages; ++m) {
      abcd_before[m] = abcd[m];
      efgh_before[m] = efgh[m];
      for (int i = 0; i < 4; ++i) w[m][i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data[m] + 16 * i)));
      data[m] += kSha256BlockBytes;
    }
#pragma GCC unroll 16
    for (int group = 0; group < 16; ++group) {
      const uint32x4_t constants = vld1q_u32(kRound + 4 * group);
#pragma GCC unroll 2
      for (std::size_t m = 0; m < kMessages; ++m) {
        const uint32x4_t current = w[m][group & 3];
        const uint32x4_t keyed = vaddq_u32(current, constants);
        const uint32x4_t abcd_then = abcd[m];
        abcd[m] = vsha256hq_u32(abcd[m], efgh[m], keyed);
        efgh[m] = vsha256h2q_u32(efgh[m], abcd_then, keyed);
        if (group < 12) {
          // The four words sixteen further on take the place of those just used.
          const uint32x4_t made = vsha256su0q_u32(current, w[m][(group + 1) & 3]);
          w[m][group & 3] = vsha256su1q_u32(made, w[m][(group + 2) & 3], w[m][(group + 3) & 3]);
        }
      }
    }
    for (std::size_t m = 0; m < kMessages; ++m) {
      abcd[m] = vaddq_u32(abcd[m], abcd_before[m]);
      efgh[m] = vaddq_u32(efgh[m], efgh_before[m]);
    }
  }

  for (std::size_t m = 0; m < kMessages; ++m) {
    vst1q_u32(states[m]->data(), abcd[m]);
    vst1q_u32(states[m]->data() + 4, efgh[m]);
  }
}

#else

constexpr bool HasShaInstructions() { return false; }

template <std::size_t kMessages>
void CompressAccelerated(const std::array<Sha256State*, kMessages>&, std::array<const std::uint8_t*, kMessages>,
                         std::size_t) noexcept {}

#endif

bool IsAccelerated() noexcept {
  static const bool has = HasShaInstructions();
  return has;
}

}  // namespace

void Sha256Compress(Sha256State& state, const std::uint8_t* data, std::size_t blocks, bool portable) noexcept {
  if (!portable && IsAccelerated()) {
    CompressAccelerated<1>({&state}, {data}, blocks);
  } else {
    CompressPortable(state, data, blocks);
  }
}

void Sha256CompressBoth(Sha256State& one, const std::uint8_t* data, Sha256State& other, const std::uint8_t* other_data,
                        std::size_t blocks) noexcept {
  if (IsAccelerated()) {
    CompressAccelerated<2>({&one, &other}, {data, other_data}, blocks);
  } else {
    CompressPortable(one, data, blocks);
    CompressPortable(other, other_data, blocks);
  }
}

}  // namespace gantry
