#include "layer/tar_reader.h"

#include <algorithm>
#include <utility>

#include "core/defence.h"

namespace gantry {
namespace {

constexpr std::size_t kLongestPath = 4095;
constexpr std::size_t kMostExtendedBytes = 1 << 20;
constexpr std::size_t kMostExtents = 1 << 20;
constexpr std::uint64_t kLargestId = 0xfffffffe;  // the one above means "leave it as it is"
constexpr std::uint64_t kLargestMajor = 0xfff;    // of Linux
constexpr std::uint64_t kLargestMinor = 0xfffff;
constexpr std::size_t kGnuExtentBytes = 24;

std::size_t PaddingOf(std::uint64_t bytes) {
  return static_cast<std::size_t>((kTarBlockBytes - bytes % kTarBlockBytes) % kTarBlockBytes);
}

bool IsZero(std::string_view block) { return block.find_first_not_of('\0') == std::string_view::npos; }

enum class Format : std::uint8_t { kV7, kUstar, kStar, kGnu };

Format FormatOf(std::string_view header) {
  const std::string_view magic = header.substr(257, 8);
  if (magic == std::string_view("ustar  \0", 8)) return Format::kGnu;
  if (!magic.starts_with(std::string_view("ustar\0", 6))) return Format::kV7;
  return header.substr(508) == std::string_view("tar\0", 4) ? Format::kStar : Format::kUstar;
}

std::string PathIn(std::string_view header, Format format) {
  const std::string name(UntilNul(header.substr(0, 100)));
  std::string_view prefix;  // where GNU has times
  if (format == Format::kUstar) prefix = UntilNul(header.substr(345, 155));
  if (format == Format::kStar) prefix = UntilNul(header.substr(345, 131));
  return prefix.empty() ? name : std::string(prefix) + "/" + name;
}

TarType TypeOf(char flag, const std::string& path) {
  switch (flag) {
    case '\0':  // how archives before POSIX said it
      return path.ends_with('/') ? TarType::kDirectory : TarType::kFile;
    case '0':
    case '7':
    case 'S':
      return TarType::kFile;
    case '1':
      return TarType::kHardlink;
    case '2':
      return TarType::kSymlink;
    case '3':
      return TarType::kCharacterDevice;
    case '4':
      return TarType::kBlockDevice;
    case '5':
      return TarType::kDirectory;
    case '6':
      return TarType::kFifo;
    default:
      throw LayerError("it has the unknown type " + Quoted(std::string(1, flag)));
  }
}

std::uint32_t Identity(const PaxRecords& pax, const char* key, std::string_view field) {
  const auto record = pax.Find(key);
  const std::uint64_t value = record ? Decimal(*record, key) : TarSize(field, key);
  if (Has(Defence::kOwnersInRange) && value > kLargestId)
    throw LayerError(std::string("the impossible ") + key + " " + std::to_string(value));
  return static_cast<std::uint32_t>(value);
}

unsigned DeviceNumber(std::string_view field, const char* what, std::uint64_t largest) {
  const std::uint64_t value = TarSize(field, what);
  if (value > largest) throw LayerError(std::string("the impossible ") + what + " " + std::to_string(value));
  return static_cast<unsigned>(value);
}

}  // namespace

void TarReader::Feed(std::string_view bytes) {
  try {
    while (!bytes.empty()) Take(bytes);
  } catch (const LayerError& error) {
    throw LayerError(Where() + error.what());
  }
}

void TarReader::Finish() {
  const bool between = state_ == State::kHeader && (collected_.empty() || block_is_collected_);
  if (state_ != State::kEnd && !between) throw LayerError(Where() + "the archive is truncated");
  if (!pax_.empty() || !long_path_.empty() || !long_link_.empty()) {
    throw LayerError(Where() + "the archive ends after an extended header");
  }
}

std::string TarReader::Where() const {
  if (!path_.empty()) return "entry " + Quoted(path_) + ": ";
  return "the header at byte " + std::to_string(header_at_) + " of the archive: ";
}

/// Takes what it can of `bytes`, at least one.
void TarReader::Take(std::string_view& bytes) {
  std::string_view block;
  switch (state_) {
    case State::kHeader:
      if (Collect(bytes, kTarBlockBytes, block)) TakeHeader(block);
      return;
    case State::kExtended:
      if (Collect(bytes, extended_bytes_ + PaddingOf(extended_bytes_), block)) {
        TakeExtended(block.substr(0, extended_bytes_));
      }
      return;
    case State::kGnuExtents:
      if (Collect(bytes, kTarBlockBytes, block)) TakeGnuExtents(block.substr(0, 21 * kGnuExtentBytes), block[504] != 0);
      return;
    case State::kPaxExtents:
      if (Collect(bytes, kTarBlockBytes, block)) TakePaxExtents(block);
      return;
    case State::kContent:
      return TakeContent(bytes);
    case State::kPadding:
      if (!Collect(bytes, padding_, block)) return;
      state_ = State::kHeader;
      path_.clear();
      return;
    case State::kEnd:
      bytes = {};
      return;
  }
}

/// True when `block` is whole; it is good until the next call.
bool TarReader::Collect(std::string_view& bytes, std::size_t wanted, std::string_view& block) {
  if (block_is_collected_) {
    collected_.clear();
    block_is_collected_ = false;
  }
  if (state_ == State::kHeader && collected_.empty()) header_at_ = position_;
  const std::size_t count = std::min(bytes.size(), wanted - collected_.size());
  position_ += count;
  if (count == wanted) {
    block = bytes.substr(0, count);
  } else {
    collected_.append(bytes.substr(0, count));
    block_is_collected_ = collected_.size() == wanted;
    block = collected_;
  }
  bytes.remove_prefix(count);
  return block.size() == wanted;
}

void TarReader::TakeHeader(std::string_view header) {
  if (IsZero(header)) {
    if (std::exchange(after_zeros_, true)) state_ = State::kEnd;
    return;
  }
  if (Has(Defence::kNothingBehindTheEnd) && after_zeros_)
    throw LayerError("a single block of zeros before it, where an archive ends with two");
  VerifyChecksum(header);
  const char flag = header[156];
  if (flag != 'x' && flag != 'g' && flag != 'L' && flag != 'K') return TakeEntry(header, flag);
  const std::uint64_t size = TarSize(header.substr(124, 12), "size");
  if (size > kMostExtendedBytes) throw LayerError("an extended header of " + std::to_string(size) + " bytes");
  extended_flag_ = flag;
  extended_bytes_ = static_cast<std::size_t>(size);
  state_ = State::kExtended;
  if (size == 0) TakeExtended({});
}

void TarReader::TakeExtended(std::string_view body) {
  state_ = State::kHeader;
  if (extended_flag_ == 'L') long_path_ = UntilNul(body);
  if (extended_flag_ == 'K') long_link_ = UntilNul(body);
  if (extended_flag_ == 'x') pax_ = PaxRecords(body);
  if (extended_flag_ == 'g') PaxRecords{body};  // read for its form only
}

void TarReader::TakeEntry(std::string_view header, char flag) {
  const Format format = FormatOf(header);
  entry_ = {};
  path_ = PathIn(header, format);
  if (const auto path = pax_.Find("path")) path_ = *path;
  if (!long_path_.empty()) path_ = long_path_;
  if (const auto path = pax_.Find("GNU.sparse.name")) path_ = *path;
  if (path_.empty()) throw LayerError("it has no name");
  if (path_.size() > kLongestPath) throw LayerError("its path has " + std::to_string(path_.size()) + " bytes");
  if (Has(Defence::kWholeNames) && path_.find('\0') != std::string::npos) throw LayerError("its name holds a NUL");
  entry_.path = path_;
  entry_.type = TypeOf(flag, path_);
  entry_.link = UntilNul(header.substr(157, 100));
  if (const auto link = pax_.Find("linkpath")) entry_.link = *link;
  if (!long_link_.empty()) entry_.link = long_link_;
  if (entry_.link.size() > kLongestPath || entry_.link.find('\0') != std::string::npos) {
    throw LayerError("its link's target is too long, or holds a NUL");
  }
  const auto size = pax_.Find("size");
  stored_bytes_ = size ? Decimal(*size, "PAX size") : TarSize(header.substr(124, 12), "size");
  Attributes& attributes = entry_.attributes;
  attributes.mode = static_cast<mode_t>(TarSize(header.substr(100, 8), "mode") & 07777);
  attributes.uid = Identity(pax_, "uid", header.substr(108, 8));
  attributes.gid = Identity(pax_, "gid", header.substr(116, 8));
  attributes.modified.tv_sec = TarNumber(header.substr(136, 12), "mtime");
  if (const auto time = pax_.Find("mtime")) attributes.modified = PaxTime(*time);
  attributes.xattrs = pax_.Xattrs();
  const bool is_device = entry_.type == TarType::kCharacterDevice || entry_.type == TarType::kBlockDevice;
  if (is_device && format != Format::kV7) {
    entry_.major = DeviceNumber(header.substr(329, 8), "device's major number", kLargestMajor);
    entry_.minor = DeviceNumber(header.substr(337, 8), "device's minor number", kLargestMinor);
  }
  entry_.size = stored_bytes_;
  extents_.clear();
  if (entry_.type == TarType::kFile && (flag == 'S' || pax_.describes_sparse())) return DescribeSparse(header, flag);
  if (entry_.type != TarType::kFile) stored_bytes_ = 0;  // whatever it says
  left_ = stored_bytes_;
  BeginContent();
}

/// Three ways to say where the data belongs: GNU's own, and two of pax.
void TarReader::DescribeSparse(std::string_view header, char flag) {
  entry_.sparse = true;
  left_ = stored_bytes_;
  if (flag == 'S') {
    if (FormatOf(header) != Format::kGnu) throw LayerError("a sparse file of GNU's form in an archive of another");
    entry_.size = TarSize(header.substr(483, 12), "size of a sparse file");
    return TakeGnuExtents(header.substr(386, 4 * kGnuExtentBytes), header[482] != 0);
  }
  const auto number = [this](const char* key) { return pax_.Find(std::string("GNU.sparse.") + key); };
  const auto size = number("realsize") ? number("realsize") : number("size");
  if (!size) throw LayerError("a sparse file that does not say its size");
  entry_.size = Decimal(*size, "size of a sparse file");
  const std::string version =
      std::string(number("major").value_or("0")) + "." + std::string(number("minor").value_or("0"));
  if (version == "1.0") {
    map_numbers_.clear();
    map_digits_.clear();
    state_ = State::kPaxExtents;
    return;
  }
  if (version != "0.0" && version != "0.1") throw LayerError("a sparse file of the unknown form " + Quoted(version));
  extents_ = pax_.extents();
  BeginContent();
}

void TarReader::TakeGnuExtents(std::string_view table, bool more) {
  for (; !table.empty() && table.front() != '\0'; table.remove_prefix(kGnuExtentBytes)) {
    if (extents_.size() == kMostExtents) throw LayerError("a sparse file of too many pieces");
    extents_.push_back({TarSize(table.substr(0, 12), "offset of a sparse map"),
                        TarSize(table.substr(12, 12), "length of a sparse map")});
  }
  state_ = State::kGnuExtents;
  if (!more) BeginContent();
}

/// Decimal numbers, a line each: how many extents, then an offset and a length for each of them.
void TarReader::TakePaxExtents(std::string_view block) {
  if (left_ < kTarBlockBytes) throw LayerError("a sparse map that is longer than its file");
  left_ -= kTarBlockBytes;
  for (const char c : block) {
    if (c != '\n') {
      if (map_digits_.size() == 20) throw LayerError("a sparse map with an impossible number");
      map_digits_ += c;
      continue;
    }
    map_numbers_.push_back(Decimal(std::exchange(map_digits_, {}), "number of a sparse map"));
    if (map_numbers_.front() > kMostExtents) throw LayerError("a sparse file of too many pieces");
    if (map_numbers_.size() <= 2 * map_numbers_.front()) continue;
    for (std::size_t i = 1; i < map_numbers_.size(); i += 2) extents_.push_back({map_numbers_[i], map_numbers_[i + 1]});
    return BeginContent();
  }
}

void TarReader::BeginContent() {
  if (entry_.sparse) {
    std::uint64_t end = 0;
    std::uint64_t stored = 0;
    for (const Extent& extent : extents_) {
      const bool in_range =
          extent.offset >= end && extent.size <= entry_.size && extent.offset <= entry_.size - extent.size;
      if (Has(Defence::kMapsInRange) && !in_range) {
        throw LayerError("a sparse map whose pieces overlap, are out of order or beyond the file's end");
      }
      end = extent.offset + extent.size;
      stored += extent.size;
    }
    if (stored != left_) throw LayerError("a sparse map of other bytes than are stored");
  } else {
    extents_.assign(1, {0, left_});
  }
  extent_ = 0;
  in_extent_ = 0;
  padding_ = PaddingOf(stored_bytes_);
  pax_ = PaxRecords();
  long_path_.clear();
  long_link_.clear();
  const bool is_file = entry_.type == TarType::kFile;
  sink_.Begin(std::move(entry_));
  state_ = State::kContent;
  if (!is_file) {
    state_ = State::kHeader;
    path_.clear();
  } else if (left_ == 0) {
    EndContent();
  }
}

void TarReader::TakeContent(std::string_view& bytes) {
  while (left_ > 0 && !bytes.empty()) {
    const Extent& extent = extents_[extent_];
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), extent.size - in_extent_));
    if (count > 0) sink_.Content(extent.offset + in_extent_, bytes.substr(0, count));
    bytes.remove_prefix(count);
    position_ += count;
    left_ -= count;
    in_extent_ += count;
    if (in_extent_ < extent.size) continue;
    ++extent_;
    in_extent_ = 0;
  }
  if (left_ == 0) EndContent();
}

void TarReader::EndContent() {
  sink_.End();
  state_ = padding_ > 0 ? State::kPadding : State::kHeader;
  if (padding_ == 0) path_.clear();
}

}  // namespace gantry
