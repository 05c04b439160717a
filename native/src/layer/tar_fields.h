// The fields of tar's headers (POSIX.1-2017 pax, GNU tar) become values. Every number is checked before it is used.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "layer/tar_entry.h"

namespace gantry {

inline constexpr std::size_t kTarBlockBytes = 512;

/// Up to the first NUL.
std::string_view UntilNul(std::string_view field);
/// Octal text, or base-256 where the first bit is set. `what` is for the LayerError that says why it is none.
std::int64_t TarNumber(std::string_view field, const char* what);
/// As TarNumber, not negative.
std::uint64_t TarSize(std::string_view field, const char* what);
/// Decimal digits and nothing else.
std::uint64_t Decimal(std::string_view text, const char* what);
/// Seconds since 1970, with a fraction of any length, which is cut down to nanoseconds.
timespec PaxTime(std::string_view text);
/// Throws LayerError if the header does not have the checksum that it says.
void VerifyChecksum(std::string_view header);

struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// What an extended header says of the entry behind it.
class PaxRecords {
 public:
  /// Throws LayerError for a malformed record.
  explicit PaxRecords(std::string_view body = {});

  std::optional<std::string_view> Find(const std::string& key) const;
  bool empty() const noexcept { return values_.empty(); }
  /// GNU.sparse.*, or nothing.
  bool describes_sparse() const noexcept { return sparse_; }
  /// Of the forms 0.0 and 0.1, as it stands there: not checked yet.
  const std::vector<Extent>& extents() const noexcept { return extents_; }
  /// SCHILY.xattr.*, and LIBARCHIVE.xattr.* where that is missing.
  std::vector<std::pair<std::string, std::string>> Xattrs() const;

 private:
  void TakeSparse(std::string_view key, std::string_view value);

  std::map<std::string, std::string, std::less<>> values_;
  std::vector<Extent> extents_;
  std::optional<std::uint64_t> extent_offset_;
  bool sparse_ = false;
};

}  // namespace gantry
