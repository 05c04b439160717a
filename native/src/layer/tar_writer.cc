#include "layer/tar_writer.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "layer/tar_fields.h"

namespace gantry {
namespace {

constexpr std::size_t kNameBytes = 100;
constexpr std::uint64_t kLargestId = 07777777;          // seven octal digits
constexpr std::uint64_t kLargestNumber = 077777777777;  // eleven
constexpr mode_t kModes = 07777;

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
std::string PaxRecord(const std::string& key, const std::string& value) {
  const std::string tail = " " + key + "=" + value + "\n";
  std::size_t length = tail.size() + 1;
  while (std::to_string(length).size() + tail.size() != length) length = std::to_string(length).size() + tail.size();
  return std::to_string(length) + tail;
}

std::string Time(const timespec& time) {
  constexpr long kSecond = 1'000'000'000;
  const bool is_before = time.tv_sec < 0 && time.tv_nsec > 0;  // -1 s and 0.75 s are -0.25 s
  const long long seconds = is_before ? -(time.tv_sec + 1) : time.tv_sec;
  char text[48];
  std::snprintf(text, sizeof text, "%s%lld.%09ld", is_before ? "-" : "", seconds,
                is_before ? kSecond - time.tv_nsec : time.tv_nsec);
  return text;
}

class Header {
 public:
  Header() { std::memcpy(block_ + 257, "ustar\00000", 8); }

  void Text(std::size_t at, std::size_t width, std::string_view text) {
    std::memcpy(block_ + at, text.data(), std::min(width, text.size()));
  }
  void Octal(std::size_t at, std::size_t digits, std::uint64_t value) {
    for (std::size_t digit = digits; digit > 0; --digit, value >>= 3) {
      block_[at + digit - 1] = static_cast<char>('0' + (value & 7));
    }
  }
  /// The block, with its checksum.
  std::string_view Sealed() {
    std::memset(block_ + 148, ' ', 8);
    std::uint64_t sum = 0;
    for (const char c : block_) sum += static_cast<unsigned char>(c);
    Octal(148, 6, sum);
    block_[154] = '\0';
    return {block_, sizeof block_};
  }

 private:
  char block_[kTarBlockBytes] = {};
};

char Flag(TarType type) {
  switch (type) {
    case TarType::kFile:
      return '0';
    case TarType::kHardlink:
      return '1';
    case TarType::kSymlink:
      return '2';
    case TarType::kCharacterDevice:
      return '3';
    case TarType::kBlockDevice:
      return '4';
    case TarType::kDirectory:
      return '5';
    case TarType::kFifo:
      return '6';
  }
  return '0';
}

std::string RecordsOf(const TarEntry& entry, const std::string& path) {
  const Attributes& attributes = entry.attributes;
  const timespec& modified = attributes.modified;
  std::string records;
  if (path.size() > kNameBytes) records += PaxRecord("path", path);
  if (entry.link.size() > kNameBytes) records += PaxRecord("linkpath", entry.link);
  if (entry.size > kLargestNumber) records += PaxRecord("size", std::to_string(entry.size));
  if (attributes.uid > kLargestId) records += PaxRecord("uid", std::to_string(attributes.uid));
  if (attributes.gid > kLargestId) records += PaxRecord("gid", std::to_string(attributes.gid));
  if (modified.tv_nsec != 0 || modified.tv_sec < 0 || static_cast<std::uint64_t>(modified.tv_sec) > kLargestNumber) {
    records += PaxRecord("mtime", Time(modified));
  }
  for (const auto& [name, value] : attributes.xattrs) {
    if (name.find('=') != std::string::npos) {
      throw LayerError(Quoted(entry.path) + ": no archive can hold an attribute with = in its name: " + Quoted(name));
    }
    records += PaxRecord("SCHILY.xattr." + name, value);
  }
  return records;
}

}  // namespace

void TarWriter::Begin(const TarEntry& entry) {
  const std::string path = entry.type == TarType::kDirectory ? entry.path + "/" : entry.path;
  if (const std::string records = RecordsOf(entry, path); !records.empty()) {
    Header header;
    header.Text(0, kNameBytes, "PaxHeaders/" + path.substr(0, kNameBytes / 2));
    header.Octal(100, 7, 0644);
    header.Octal(108, 7, 0);
    header.Octal(116, 7, 0);
    header.Octal(124, 11, records.size());
    header.Octal(136, 11, 0);
    header.Text(156, 1, "x");
    write_(header.Sealed());
    Content(records);
    Pad();
  }
  const Attributes& attributes = entry.attributes;
  const auto fitting = [](std::uint64_t value, std::uint64_t largest) { return value > largest ? 0 : value; };
  Header header;
  header.Text(0, kNameBytes, path);
  header.Octal(100, 7, attributes.mode & kModes);
  header.Octal(108, 7, fitting(attributes.uid, kLargestId));
  header.Octal(116, 7, fitting(attributes.gid, kLargestId));
  header.Octal(124, 11, fitting(entry.size, kLargestNumber));
  const auto seconds = attributes.modified.tv_sec;
  header.Octal(136, 11, seconds < 0 ? 0 : fitting(static_cast<std::uint64_t>(seconds), kLargestNumber));
  header.Text(156, 1, std::string(1, Flag(entry.type)));
  header.Text(157, kNameBytes, entry.link);
  header.Octal(329, 7, fitting(entry.major, kLargestId));
  header.Octal(337, 7, fitting(entry.minor, kLargestId));
  write_(header.Sealed());
}

void TarWriter::Content(std::string_view bytes) {
  written_ += bytes.size();
  write_(bytes);
}

void TarWriter::End() { Pad(); }

void TarWriter::Finish() { write_(std::string(2 * kTarBlockBytes, '\0')); }

void TarWriter::Pad() {
  const std::size_t over = written_ % kTarBlockBytes;
  written_ = 0;
  if (over > 0) write_(std::string(kTarBlockBytes - over, '\0'));
}

}  // namespace gantry
