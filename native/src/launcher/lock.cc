#include "launcher/lock.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>

#include "core/hash.h"

namespace gantry {
namespace {

struct Range {
  UniqueFd file;
  struct flock place;
};

Range RangeOf(const std::string& root, std::string_view name, Lock::Mode mode) {
  constexpr std::size_t kDigits = 12;
  constexpr long long kPlaces = 1LL << 47;
  Hash hash(HashAlgorithm::kSha256);
  hash.Update({reinterpret_cast<const std::uint8_t*>(name.data()), name.size()});
  const std::string path = root + "/lock";
  Range range{
      UniqueFd(checked("open the store's lock", [&] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC); })),
      {},
  };
  range.place.l_type = mode == Lock::Mode::kAlone ? F_WRLCK : F_RDLCK;
  range.place.l_whence = SEEK_SET;
  range.place.l_start = std::strtoll(hash.DigestHex().substr(0, kDigits).c_str(), nullptr, 16) % kPlaces;
  range.place.l_len = 1;
  return range;
}

}  // namespace

std::optional<Lock> Lock::Try(const std::string& root, std::string_view name, Mode mode) {
  Range range = RangeOf(root, name, mode);
  if (::fcntl(range.file.get(), F_OFD_SETLK, &range.place) == 0) return Lock(std::move(range.file));
  if (errno == EAGAIN || errno == EACCES) return std::nullopt;
  throw SysError(errno, "lock the store");
}

Lock Lock::Await(const std::string& root, std::string_view name) {
  Range range = RangeOf(root, name, Mode::kAlone);
  checked("lock the store", [&] { return ::fcntl(range.file.get(), F_OFD_SETLKW, &range.place); });
  return Lock(std::move(range.file));
}

}  // namespace gantry
