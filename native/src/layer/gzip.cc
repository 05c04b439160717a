#include "layer/gzip.h"

#include <algorithm>

#include "layer/crc32.h"

namespace gantry {
namespace {

constexpr std::size_t kFixedHeaderBytes = 10;
constexpr std::size_t kTrailerBytes = 8;
constexpr std::uint8_t kDeflate = 8;
enum Flags : std::uint8_t { kHeaderCrc = 2, kExtra = 4, kName = 8, kComment = 16, kReserved = 0xe0 };

std::uint32_t Word(const std::uint8_t* at) {
  return at[0] | std::uint32_t{at[1]} << 8 | std::uint32_t{at[2]} << 16 | std::uint32_t{at[3]} << 24;
}

/// The length of the header that `bytes` begin with; 0 if there is more of it.
std::size_t HeaderLength(std::span<const std::uint8_t> bytes) {
  if (bytes.size() < kFixedHeaderBytes) return 0;
  if (bytes[0] != 0x1f || bytes[1] != 0x8b) throw DecodeError("bytes after the gzip data that are no gzip data");
  if (bytes[2] != kDeflate) throw DecodeError("gzip data of an unknown method");
  const std::uint8_t flags = bytes[3];
  if (flags & kReserved) throw DecodeError("gzip data with unknown flags");
  std::size_t length = kFixedHeaderBytes;
  if (flags & kExtra) {
    if (bytes.size() < length + 2) return 0;
    length += 2 + (bytes[length] | std::size_t{bytes[length + 1]} << 8);
  }
  for (const std::uint8_t text : {kName, kComment}) {
    if (!(flags & text)) continue;
    if (bytes.size() < length) return 0;
    const auto end = std::find(bytes.begin() + static_cast<std::ptrdiff_t>(length), bytes.end(), 0);
    if (end == bytes.end()) return 0;
    length = static_cast<std::size_t>(end - bytes.begin()) + 1;
  }
  if (flags & kHeaderCrc) {
    if (bytes.size() < length + 2) return 0;
    const std::uint32_t crc = bytes[length] | std::uint32_t{bytes[length + 1]} << 8;
    if (crc != (Crc32(0, bytes.first(length)) & 0xffff)) throw DecodeError("gzip data with a damaged header");
    length += 2;
  }
  return length <= bytes.size() ? length : 0;
}

}  // namespace

bool Gzip::Decode(const std::uint8_t*& in, const std::uint8_t* in_end, std::uint8_t*& out, std::uint8_t* out_end,
                  const std::uint8_t* window) {
  for (;;) {
    const auto available = static_cast<std::size_t>(in_end - in);
    switch (state_) {
      case State::kHeader: {
        const std::size_t length = HeaderLength({in, available});
        if (length == 0 && available >= kGzipHeaderBytes) throw DecodeError("a gzip header without an end");
        if (length == 0) return false;
        in += length;
        inflate_.Reset();
        crc_ = 0;
        member_bytes_ = 0;
        state_ = State::kBody;
        break;
      }
      case State::kBody: {
        const std::uint8_t* const begun = out;
        // A member refers to nothing of the one before.
        const auto reach = std::min(static_cast<std::uint64_t>(out - window), member_bytes_);
        const auto status = inflate_.Run(in, in_end, out, out_end, out - reach);
        const auto count = static_cast<std::size_t>(out - begun);
        crc_ = Crc32(crc_, {begun, count});
        member_bytes_ += count;
        if (status != Inflate::Status::kDone) return status == Inflate::Status::kNeedsOutput;
        state_ = State::kTrailer;
        break;
      }
      case State::kTrailer:
        if (available < kTrailerBytes) return false;
        if (Word(in) != crc_) throw DecodeError("the gzip data does not have the checksum that it says");
        if (Word(in + 4) != static_cast<std::uint32_t>(member_bytes_)) {
          throw DecodeError("the gzip data does not have the length that it says");
        }
        in += kTrailerBytes;
        state_ = State::kHeader;
        break;
    }
  }
}

void Gzip::Finish(std::size_t leftover) const {
  if (state_ != State::kHeader || leftover > 0) throw DecodeError("the gzip data is truncated");
}

}  // namespace gantry
