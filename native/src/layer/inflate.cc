#include "layer/inflate.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <string>

namespace gantry {
namespace {

using Entry = std::uint32_t;

static_assert(std::endian::native == std::endian::little, "the bit buffer is loaded by words");

// A table's entry: bits to take (code and extra bits), flags, code's own bits, value.
constexpr Entry kTakeMask = 0x3f;
constexpr unsigned kOwnShift = 8;
constexpr Entry kOwnMask = 0xf;
constexpr Entry kLiteral = 1 << 12;      // the value is a byte
constexpr Entry kExceptional = 1 << 13;  // one of the three below
constexpr Entry kSecond = 1 << 14;       // the value is where a second table begins, the own bits are its size
constexpr Entry kEnd = 1 << 15;          // of the block; an exceptional one that is neither is no code
constexpr unsigned kValueShift = 16;

constexpr unsigned kLongestCode = 15;
constexpr unsigned kPrecodeBits = 7;
constexpr unsigned kFirstLiteralBits = 11;  // longer codes go through a second table
constexpr unsigned kFirstDistanceBits = 8;
constexpr std::size_t kMostSymbols = 288;
constexpr std::size_t kEndOfBlock = 256;

constexpr std::uint16_t kLengthBase[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                         31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
constexpr std::uint8_t kLengthExtra[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                         2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
constexpr std::uint16_t kDistanceBase[] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                           33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                           1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
constexpr std::uint8_t kDistanceExtra[] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                           6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
constexpr std::uint8_t kPrecodeOrder[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

constexpr Entry EntryOf(Entry value, unsigned extra, Entry flags) { return value << kValueShift | flags | extra; }

/// What symbols stand for, but for the bits of their codes.
struct Meanings {
  std::array<Entry, kMostSymbols> literals{};
  std::array<Entry, 32> distances{};
  std::array<Entry, 19> precode{};

  constexpr Meanings() {
    for (std::size_t i = 0; i < literals.size(); ++i) {
      if (i < kEndOfBlock) literals[i] = EntryOf(static_cast<Entry>(i), 0, kLiteral);
      if (i == kEndOfBlock) literals[i] = kExceptional | kEnd;
      if (i > kEndOfBlock) literals[i] = kExceptional;
      if (i > kEndOfBlock && i - 257 < std::size(kLengthBase)) {
        literals[i] = EntryOf(kLengthBase[i - 257], kLengthExtra[i - 257], 0);
      }
    }
    for (std::size_t i = 0; i < distances.size(); ++i) {
      distances[i] = i < std::size(kDistanceBase) ? EntryOf(kDistanceBase[i], kDistanceExtra[i], 0) : kExceptional;
    }
    for (std::size_t i = 0; i < precode.size(); ++i) precode[i] = EntryOf(static_cast<Entry>(i), 0, 0);
  }
};
constexpr Meanings kMeanings;

constexpr Entry WithCode(Entry meaning, unsigned code_bits) { return (meaning + code_bits) | code_bits << kOwnShift; }

/// Fills `table`, indexed by the next `first_bits` of the stream, from the lengths of a canonical code. A code of at
/// most one symbol may be incomplete, as zlib has it; else throws DecodeError.
void BuildTable(std::span<Entry> table, unsigned first_bits, std::span<const std::uint8_t> lengths,
                const Entry* meanings, const char* what, bool may_be_incomplete = true) {
  std::array<std::uint16_t, kLongestCode + 1> counts{};
  for (const std::uint8_t length : lengths) ++counts[length];
  counts[0] = 0;
  unsigned longest = kLongestCode;
  while (longest > 0 && counts[longest] == 0) --longest;
  int left = 1;
  for (unsigned length = 1; length <= kLongestCode; ++length) {
    left = 2 * left - counts[length];
    if (left < 0) throw DecodeError(std::string("the compressed data has an over-subscribed code of ") + what);
  }
  if (left > 0 && (longest > 1 || !may_be_incomplete))
    throw DecodeError(std::string("the compressed data has an incomplete code of ") + what);
  const std::size_t first_size = std::size_t{1} << first_bits;
  if (left > 0) std::fill_n(table.begin(), first_size, kExceptional | 1);

  std::array<std::uint16_t, kLongestCode + 2> starts{};
  for (unsigned length = 1; length <= kLongestCode; ++length) starts[length + 1] = starts[length] + counts[length];
  std::array<std::uint16_t, kMostSymbols> sorted;
  for (std::size_t symbol = 0; symbol < lengths.size(); ++symbol) {
    if (lengths[symbol] != 0) sorted[starts[lengths[symbol]]++] = static_cast<std::uint16_t>(symbol);
  }

  std::size_t next = 0;
  std::size_t code = 0;  // its bits reversed: the stream gives the highest first
  const auto advance = [&code](unsigned length) {
    std::size_t bit = std::size_t{1} << (length - 1);
    while (code & bit) bit >>= 1;
    code = bit == 0 ? 0 : (code & (bit - 1)) | bit;
  };
  std::size_t second = first_size;  // where the next second table goes
  std::size_t prefix = first_size;  // of the last one: none yet
  std::size_t second_start = 0;
  unsigned second_bits = 0;
  for (unsigned length = 1; length <= longest; ++length) {
    for (unsigned n = counts[length]; n > 0; --n, ++next) {
      const Entry meaning = meanings[sorted[next]];
      if (length <= first_bits) {
        const Entry entry = WithCode(meaning, length);
        for (std::size_t i = code; i < first_size; i += std::size_t{1} << length) table[i] = entry;
      } else {
        if ((code & (first_size - 1)) != prefix) {
          prefix = code & (first_size - 1);
          second_bits = length - first_bits;
          int room = (1 << second_bits) - static_cast<int>(n);
          while (room > 0 && second_bits + first_bits < longest) {
            ++second_bits;
            room = 2 * room - counts[second_bits + first_bits];
          }
          second_start = second;
          second += std::size_t{1} << second_bits;
          if (second > table.size()) throw DecodeError("the compressed data has an impossible code");
          table[prefix] =
              EntryOf(static_cast<Entry>(second_start), first_bits, kExceptional | kSecond) | second_bits << kOwnShift;
        }
        const Entry entry = WithCode(meaning, length - first_bits);
        for (std::size_t i = code >> first_bits; i < std::size_t{1} << second_bits;
             i += std::size_t{1} << (length - first_bits)) {
          table[second_start + i] = entry;
        }
      }
      advance(length);
    }
  }
}

constexpr std::uint64_t Low(std::uint64_t bits, unsigned count) { return bits & ((std::uint64_t{1} << count) - 1); }

/// The value of an entry that is neither literal nor exceptional, with its extra bits.
inline std::uint32_t ValueOf(Entry entry, std::uint64_t bits) {
  const unsigned own = entry >> kOwnShift & kOwnMask;
  return (entry >> kValueShift) + static_cast<std::uint32_t>(Low(bits, entry & kTakeMask) >> own);
}

inline void Copy8(std::uint8_t* to, const std::uint8_t* from) {
  std::uint64_t word;
  std::memcpy(&word, from, sizeof word);
  std::memcpy(to, &word, sizeof word);
}
inline void Copy16(std::uint8_t* to, const std::uint8_t* from) {
  struct Pair {
    std::uint64_t a, b;
  } pair;
  std::memcpy(&pair, from, sizeof pair);
  std::memcpy(to, &pair, sizeof pair);
}

// Of the fast loop: a turn reads and writes at most so much.
constexpr std::ptrdiff_t kFastInput = 32;
constexpr std::ptrdiff_t kFastOutput = 2 + 258 + 32;

}  // namespace

/// Where a call is in its input and output.
struct InflateCursor {
  const std::uint8_t* in;
  const std::uint8_t* in_end;
  std::uint8_t* out;
  std::uint8_t* out_end;
  const std::uint8_t* window;
  std::uint64_t bits;
  unsigned count;

  /// At most 32. False if the input does not have so many.
  bool Have(unsigned wanted) {
    while (count < wanted) {
      if (in == in_end) return false;
      bits |= std::uint64_t{*in++} << count;
      count += 8;
    }
    return true;
  }
  void Fill() {
    while (count <= 56 && in != in_end) {
      bits |= std::uint64_t{*in++} << count;
      count += 8;
    }
  }
  /// To the input, what are whole bytes of it.
  void GiveBack() {
    in -= count >> 3;
    count &= 7;
    bits = Low(bits, count);
  }
  void Drop(unsigned taken) {
    bits >>= taken;
    count -= taken;
  }
  std::uint32_t Take(unsigned wanted) {
    const auto value = static_cast<std::uint32_t>(Low(bits, wanted));
    Drop(wanted);
    return value;
  }
};

namespace {

/// Decodes while there is plenty of input and room. True at the end of the block.
__attribute__((always_inline)) inline bool FastLoop(InflateCursor& at, const Entry* literals, const Entry* distances) {
  if (at.in_end - at.in < kFastInput || at.out_end - at.out < kFastOutput) return false;
  const std::uint8_t* in = at.in;
  std::uint8_t* out = at.out;
  std::uint64_t bits = at.bits;
  std::uint32_t count = at.count;
  const std::uint8_t* const in_limit = at.in_end - kFastInput;
  const std::uint8_t* const out_limit = at.out_end - kFastOutput;
  bool ended = false;
  const auto fill = [&]() __attribute__((always_inline)) {  // to at least 56 bits
    std::uint64_t word;
    std::memcpy(&word, in, sizeof word);
    bits |= word << count;
    in += (63 - count) >> 3;
    count |= 56;
  };
  const auto drop = [&](Entry entry) __attribute__((always_inline)) {
    bits >>= entry & kTakeMask;
    count -= entry & kTakeMask;
  };
  while (in <= in_limit && out <= out_limit) {
    fill();
    Entry entry = literals[Low(bits, kFirstLiteralBits)];
    if (entry & kLiteral) {
      drop(entry);
      *out++ = static_cast<std::uint8_t>(entry >> kValueShift);
      entry = literals[Low(bits, kFirstLiteralBits)];
      if (entry & kLiteral) {
        drop(entry);
        *out++ = static_cast<std::uint8_t>(entry >> kValueShift);
        entry = literals[Low(bits, kFirstLiteralBits)];
        if (entry & kLiteral) {
          drop(entry);
          *out++ = static_cast<std::uint8_t>(entry >> kValueShift);
          continue;
        }
      }
    }
    // At least 34 bits are left: enough for a length.
    if (entry & kExceptional) {
      if (entry & kSecond) {
        drop(entry);
        entry = literals[(entry >> kValueShift) + Low(bits, entry >> kOwnShift & kOwnMask)];
        if (entry & kLiteral) {
          drop(entry);
          *out++ = static_cast<std::uint8_t>(entry >> kValueShift);
          continue;
        }
      }
      if (entry & kExceptional) {
        drop(entry);
        if (!(entry & kEnd)) throw DecodeError("the compressed data has a code that means nothing");
        ended = true;
        break;
      }
    }
    std::uint32_t length = ValueOf(entry, bits);
    drop(entry);
    fill();
    entry = distances[Low(bits, kFirstDistanceBits)];
    if (entry & kExceptional) {
      drop(entry);
      if (entry & kSecond) entry = distances[(entry >> kValueShift) + Low(bits, entry >> kOwnShift & kOwnMask)];
      if (entry & kExceptional) throw DecodeError("the compressed data has a distance that means nothing");
    }
    const std::uint32_t distance = ValueOf(entry, bits);
    drop(entry);
    if (distance > static_cast<std::size_t>(out - at.window)) {
      throw DecodeError("the compressed data refers to what was before its beginning");
    }
    const std::uint8_t* from = out - distance;
    std::uint8_t* const end = out + length;
    if (distance >= 16) {
      do {
        Copy16(out, from);
        Copy16(out + 16, from + 16);
        out += 32;
        from += 32;
      } while (out < end);
    } else if (distance >= 8) {
      do {
        Copy8(out, from);
        out += 8;
        from += 8;
      } while (out < end);
    } else if (distance == 1) {
      std::memset(out, *from, length);
    } else {
      // Each word is copied whole and begins where the last one's repetition ends.
      do {
        Copy8(out, from);
        out += distance;
        from += distance;
      } while (out < end);
    }
    out = end;
  }
  at.in = in;
  at.out = out;
  at.bits = Low(bits, count);
  at.count = count;
  return ended;
}

bool FastPortable(InflateCursor& at, const Entry* literals, const Entry* distances) {
  return FastLoop(at, literals, distances);
}

#if defined(__x86_64__)
__attribute__((target("bmi,bmi2"))) bool FastBmi2(InflateCursor& at, const Entry* literals, const Entry* distances) {
  return FastLoop(at, literals, distances);
}
const auto kFast = __builtin_cpu_supports("bmi2") ? FastBmi2 : FastPortable;
#else
constexpr auto kFast = FastPortable;
#endif

}  // namespace

void Inflate::Reset() noexcept {
  state_ = State::kBlock;
  last_block_ = false;
  bits_ = 0;
  count_ = 0;
  match_left_ = 0;
}

Inflate::Status Inflate::Run(const std::uint8_t*& in, const std::uint8_t* in_end, std::uint8_t*& out,
                             std::uint8_t* out_end, const std::uint8_t* window) {
  Cursor at{in, in_end, out, out_end, window, bits_, count_};
  const Status status = Decode(at);
  at.GiveBack();
  in = at.in;
  out = at.out;
  bits_ = at.bits;
  count_ = at.count;
  return status;
}

Inflate::Status Inflate::Decode(Cursor& at) {
  for (;;) {
    switch (state_) {
      case State::kBlock:
        if (last_block_) {
          at.Drop(at.count & 7);
          state_ = State::kDone;
        } else if (const Cursor begun = at; !BeginBlock(at)) {
          at = begun;
          return Status::kNeedsInput;
        }
        break;
      case State::kStored:
        if (!CopyStored(at)) return at.out == at.out_end ? Status::kNeedsOutput : Status::kNeedsInput;
        break;
      case State::kSymbols:
        if (const Status status = Symbols(at); status != Status::kDone) return status;
        state_ = State::kBlock;
        break;
      case State::kDone:
        return Status::kDone;
    }
  }
}

/// False if its header is not here whole.
bool Inflate::BeginBlock(Cursor& at) {
  if (!at.Have(3)) return false;
  const bool last = at.Take(1) != 0;
  switch (at.Take(2)) {
    case 0: {
      at.Drop(at.count & 7);
      if (!at.Have(32)) return false;
      const std::uint32_t length = at.Take(16);
      if (length != (at.Take(16) ^ 0xffff)) throw DecodeError("the compressed data has a stored block of two lengths");
      at.GiveBack();
      stored_left_ = length;
      state_ = State::kStored;
      break;
    }
    case 1:
      UseFixedCodes();
      state_ = State::kSymbols;
      break;
    case 2:
      if (!ReadCodes(at)) return false;
      state_ = State::kSymbols;
      break;
    default:
      throw DecodeError("the compressed data has a block of no known type");
  }
  last_block_ = last;
  return true;
}

void Inflate::UseFixedCodes() {
  std::array<std::uint8_t, kMostSymbols> lengths;
  for (std::size_t i = 0; i < lengths.size(); ++i) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
  BuildTable(literals_, kFirstLiteralBits, lengths, kMeanings.literals.data(), "literals");
  std::array<std::uint8_t, 32> distances;
  distances.fill(5);
  BuildTable(distances_, kFirstDistanceBits, distances, kMeanings.distances.data(), "distances");
}

bool Inflate::ReadCodes(Cursor& at) {
  if (!at.Have(14)) return false;
  const std::size_t literals = at.Take(5) + 257;
  const std::size_t distances = at.Take(5) + 1;
  const std::size_t precodes = at.Take(4) + 4;
  if (literals > 286 || distances > 30) throw DecodeError("the compressed data has too many codes");
  std::array<std::uint8_t, std::size(kPrecodeOrder)> precode_lengths{};
  for (std::size_t i = 0; i < precodes; ++i) {
    if (!at.Have(3)) return false;
    precode_lengths[kPrecodeOrder[i]] = static_cast<std::uint8_t>(at.Take(3));
  }
  std::array<Entry, 1 << kPrecodeBits> precode;
  BuildTable(precode, kPrecodeBits, precode_lengths, kMeanings.precode.data(), "code lengths", false);

  std::array<std::uint8_t, 286 + 30> lengths;
  for (std::size_t i = 0; i < literals + distances;) {
    at.Fill();
    const Entry entry = precode[Low(at.bits, kPrecodeBits)];
    const Entry symbol = entry >> kValueShift;
    const unsigned extra = symbol < 16 ? 0 : symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
    if ((entry & kTakeMask) + extra > at.count) return false;
    at.Drop(entry & kTakeMask);
    if (symbol < 16) {
      lengths[i++] = static_cast<std::uint8_t>(symbol);
      continue;
    }
    const std::size_t repeats = at.Take(extra) + (symbol == 18 ? 11 : 3);
    if ((symbol == 16 && i == 0) || repeats > literals + distances - i) {
      throw DecodeError("the compressed data repeats code lengths that are not there");
    }
    std::fill_n(lengths.begin() + i, repeats, symbol == 16 ? lengths[i - 1] : std::uint8_t{0});
    i += repeats;
  }
  if (lengths[kEndOfBlock] == 0) throw DecodeError("the compressed data has a block without an end");
  const std::span<const std::uint8_t> all(lengths);
  BuildTable(literals_, kFirstLiteralBits, all.first(literals), kMeanings.literals.data(), "literals");
  BuildTable(distances_, kFirstDistanceBits, all.subspan(literals, distances), kMeanings.distances.data(), "distances");
  return true;
}

/// False if input or room is missing.
bool Inflate::CopyStored(Cursor& at) {
  const auto count = std::min({std::size_t{stored_left_}, static_cast<std::size_t>(at.in_end - at.in),
                               static_cast<std::size_t>(at.out_end - at.out)});
  if (count > 0) std::memcpy(at.out, at.in, count);
  at.in += count;
  at.out += count;
  stored_left_ -= static_cast<std::uint32_t>(count);
  if (stored_left_ > 0) return false;
  state_ = State::kBlock;
  return true;
}

/// False if there is no room for all of it.
bool Inflate::CopyMatch(Cursor& at) {
  for (; match_left_ > 0 && at.out != at.out_end; --match_left_, ++at.out) *at.out = *(at.out - match_distance_);
  return match_left_ == 0;
}

/// Of one block. Near the end of input or room it takes symbol by symbol, each whole or not at all.
Inflate::Status Inflate::Symbols(Cursor& at) {
  for (;;) {
    if (!CopyMatch(at)) return Status::kNeedsOutput;
    if (kFast(at, literals_.data(), distances_.data())) return Status::kDone;
    at.Fill();
    std::uint64_t bits = at.bits;
    unsigned left = at.count;
    /// The entry of the next code; `nullptr` if its bits are not all here.
    const auto next = [&](const Entry* table, unsigned first_bits) -> const Entry* {
      const Entry* entry = &table[Low(bits, first_bits)];
      if ((*entry & kTakeMask) > left) return nullptr;
      if (*entry & kSecond) {
        bits >>= *entry & kTakeMask;
        left -= *entry & kTakeMask;
        entry = &table[(*entry >> kValueShift) + Low(bits, *entry >> kOwnShift & kOwnMask)];
      }
      return (*entry & kTakeMask) > left ? nullptr : entry;
    };
    const auto drop = [&](Entry entry) {
      bits >>= entry & kTakeMask;
      left -= entry & kTakeMask;
    };
    const Entry* entry = next(literals_.data(), kFirstLiteralBits);
    if (entry == nullptr) return Status::kNeedsInput;
    const bool ended = (*entry & kEnd) != 0;
    if ((*entry & kExceptional) && !ended) throw DecodeError("the compressed data has a code that means nothing");
    if (!ended && at.out == at.out_end) return Status::kNeedsOutput;
    if (*entry & kLiteral) {
      *at.out++ = static_cast<std::uint8_t>(*entry >> kValueShift);
      drop(*entry);
    } else if (ended) {
      drop(*entry);
    } else {
      const std::uint32_t length = ValueOf(*entry, bits);
      drop(*entry);
      entry = next(distances_.data(), kFirstDistanceBits);
      if (entry == nullptr) return Status::kNeedsInput;
      if (*entry & kExceptional) throw DecodeError("the compressed data has a distance that means nothing");
      match_distance_ = ValueOf(*entry, bits);
      drop(*entry);
      if (match_distance_ > static_cast<std::size_t>(at.out - at.window)) {
        throw DecodeError("the compressed data refers to what was before its beginning");
      }
      match_left_ = length;
    }
    at.bits = bits;
    at.count = left;
    if (ended) return Status::kDone;
  }
}

}  // namespace gantry
