#include "layer/tar_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace gantry {
namespace {

constexpr std::int64_t kMostSeconds = std::int64_t{1} << 40;
constexpr std::size_t kChecksumAt = 148;
constexpr std::size_t kChecksumBytes = 8;
constexpr std::string_view kSparse = "GNU.sparse.";
constexpr std::string_view kSchily = "SCHILY.xattr.";
constexpr std::string_view kLibarchive = "LIBARCHIVE.xattr.";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

int HexDigit(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string PercentDecoded(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    const bool whole = text.size() - i > 2;
    const int high = whole ? HexDigit(text[i + 1]) : -1;
    const int low = whole ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) throw LayerError("the malformed attribute name " + Quoted(std::string(text)));
    result += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return result;
}

std::string Base64Decoded(std::string_view text) {
  std::string result;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    int value = -1;
    if (c >= 'A' && c <= 'Z') value = c - 'A';
    if (c >= 'a' && c <= 'z') value = c - 'a' + 26;
    if (IsDigit(c)) value = c - '0' + 52;
    if (c == '+') value = 62;
    if (c == '/') value = 63;
    if (c == '=') break;
    if (value < 0) throw LayerError("an attribute whose value is not base64");
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    result += static_cast<char>(bits >> count & 0xff);
  }
  return result;
}

}  // namespace

std::string_view UntilNul(std::string_view field) { return field.substr(0, field.find('\0')); }

std::int64_t TarNumber(std::string_view field, const char* what) {
  const auto first = static_cast<unsigned char>(field.front());
  const auto too_large = [what] { return LayerError(std::string("a ") + what + " that is too large"); };
  if (first & 0x80) {  // two's complement, the marker's bit aside
    if (first != 0x80 && first != 0xff) throw too_large();
    std::int64_t value = first == 0xff ? -1 : 0;
    for (const char c : field.substr(1)) {
      if (value > std::numeric_limits<std::int64_t>::max() >> 8 ||
          value < std::numeric_limits<std::int64_t>::min() >> 8) {
        throw too_large();
      }
      value = value * 256 + static_cast<unsigned char>(c);
    }
    return value;
  }
  const auto is_padding = [](char c) { return c == ' ' || c == '\0'; };
  while (!field.empty() && is_padding(field.front())) field.remove_prefix(1);
  std::int64_t value = 0;
  for (const char c : field) {
    if (is_padding(c)) break;
    if (c < '0' || c > '7')
      throw LayerError(std::string("a ") + what + " that is not a number: " + Quoted(std::string(field)));
    value = value * 8 + (c - '0');  // a field has 12 digits at most
  }
  return value;
}

std::uint64_t TarSize(std::string_view field, const char* what) {
  const std::int64_t value = TarNumber(field, what);
  if (value < 0) throw LayerError(std::string("the negative ") + what + " " + std::to_string(value));
  return static_cast<std::uint64_t>(value);
}

std::uint64_t Decimal(std::string_view text, const char* what) {
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || !IsDigit(text.front()) || error != std::errc() || end != text.data() + text.size()) {
    throw LayerError(std::string("the impossible ") + what + " " + Quoted(std::string(text.substr(0, 40))));
  }
  return static_cast<std::uint64_t>(value);
}

timespec PaxTime(std::string_view text) {
  const auto impossible = [text] {
    return LayerError("the impossible PAX mtime " + Quoted(std::string(text.substr(0, 40))));
  };
  const bool negative = text.starts_with('-');
  const std::string_view magnitude = text.substr(negative ? 1 : 0);
  const std::size_t point = std::min(magnitude.find('.'), magnitude.size());
  const std::string_view whole = magnitude.substr(0, point);
  const std::string_view fraction = magnitude.substr(std::min(point + 1, magnitude.size()));
  if (whole.empty() || whole.size() > 12 || !std::ranges::all_of(whole, IsDigit) ||
      !std::ranges::all_of(fraction, IsDigit)) {
    throw impossible();
  }
  timespec time = {};
  time.tv_sec = static_cast<time_t>(Decimal(whole, "PAX mtime"));
  if (time.tv_sec > kMostSeconds) throw impossible();
  for (std::size_t i = 0; i < 9; ++i) time.tv_nsec = 10 * time.tv_nsec + (i < fraction.size() ? fraction[i] - '0' : 0);
  if (negative) {
    time.tv_sec = -time.tv_sec;
    if (time.tv_nsec > 0) {
      time.tv_sec -= 1;
      time.tv_nsec = 1'000'000'000 - time.tv_nsec;
    }
  }
  return time;
}

void VerifyChecksum(std::string_view header) {
  std::int64_t sum = kChecksumBytes * ' ';  // the checksum's own field counts as spaces
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (i < kChecksumAt || i >= kChecksumAt + kChecksumBytes) sum += static_cast<unsigned char>(header[i]);
  }
  const std::string_view field = header.substr(kChecksumAt, kChecksumBytes);
  const bool is_number = field.find_first_not_of(std::string_view(" \0"
                                                                  "01234567",
                                                                  10)) == std::string_view::npos;
  if (!is_number || sum != TarNumber(field, "checksum")) {
    throw LayerError("a header with a wrong checksum: this is no tar archive, or it is damaged");
  }
}

/// Each record is `LENGTH KEY=VALUE\n`, the length counting itself.
PaxRecords::PaxRecords(std::string_view body) {
  while (!body.empty() && body.front() != '\0') {  // some writers pad with NULs
    const auto malformed = [] { return LayerError("a PAX header with a malformed record"); };
    const std::size_t space = body.find(' ');
    if (space == std::string_view::npos || space > 7) throw malformed();
    const std::uint64_t length = Decimal(body.substr(0, space), "length of a PAX record");
    if (length <= space + 1 || length > body.size() || body[length - 1] != '\n') throw malformed();
    const std::string_view record = body.substr(space + 1, length - space - 2);
    const std::size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) throw malformed();
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key.find('\0') != std::string_view::npos) throw malformed();
    if (key.starts_with(kSparse)) TakeSparse(key.substr(kSparse.size()), value);
    if (value.empty() && !key.starts_with(kSchily)) {
      if (const auto known = values_.find(key); known != values_.end()) values_.erase(known);  // it is taken back
    } else {
      values_.insert_or_assign(std::string(key), std::string(value));
    }
    body.remove_prefix(length);
  }
  if (extent_offset_) throw LayerError("a sparse map with an offset without a length");
}

/// The forms 0.0 (an offset and a length each, in order) and 0.1 (all of them in one value).
void PaxRecords::TakeSparse(std::string_view key, std::string_view value) {
  sparse_ = true;
  if (key == "offset") {
    if (extent_offset_) throw LayerError("a sparse map with two offsets for one length");
    extent_offset_ = Decimal(value, "offset of a sparse map");
  } else if (key == "numbytes") {
    if (!extent_offset_) throw LayerError("a sparse map with a length without an offset");
    extents_.push_back({*std::exchange(extent_offset_, std::nullopt), Decimal(value, "length of a sparse map")});
  } else if (key == "map") {
    extents_.clear();
    std::optional<std::uint64_t> offset;
    for (std::size_t start = 0; start <= value.size() && !value.empty();) {
      const std::size_t end = std::min(value.find(',', start), value.size());
      const std::uint64_t number = Decimal(value.substr(start, end - start), "number of a sparse map");
      start = end + 1;
      if (offset)
        extents_.push_back({*std::exchange(offset, std::nullopt), number});
      else
        offset = number;
    }
    if (offset) throw LayerError("a sparse map with an offset without a length");
  }
}

std::optional<std::string_view> PaxRecords::Find(const std::string& key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

std::vector<std::pair<std::string, std::string>> PaxRecords::Xattrs() const {
  std::map<std::string, std::string> attributes;
  for (const auto& [key, value] : values_) {
    if (key.starts_with(kLibarchive)) {
      attributes.insert_or_assign(PercentDecoded(std::string_view(key).substr(kLibarchive.size())),
                                  Base64Decoded(value));
    }
  }
  for (const auto& [key, value] : values_) {
    if (key.starts_with(kSchily)) attributes.insert_or_assign(key.substr(kSchily.size()), value);
  }
  for (const auto& [name, value] : attributes) {
    if (name.empty() || name.find('\0') != std::string::npos)
      throw LayerError("an attribute without a name, or with a NUL in it");
  }
  return {attributes.begin(), attributes.end()};
}

}  // namespace gantry
