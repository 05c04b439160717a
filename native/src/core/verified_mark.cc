#include "core/verified_mark.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/hash.h"

namespace gantry {
namespace {

constexpr const char* kAttribute = "user.gantry.verified";
/// As short as a chance match allows: together with the name it fits into an inode of ext4.
constexpr std::size_t kMarkLength = 16;

/// Not the time of the last change of the inode, which setting the mark changes; nor the device, whose number depends
/// on the order of a boot. Empty if the file cannot be looked at.
std::string MarkOf(int file, const std::string& name) {
  struct stat status = {};
  if (::fstat(file, &status) != 0) return "";
  const std::string text = name + ' ' + std::to_string(status.st_ino) + ' ' + std::to_string(status.st_size) + ' ' +
                           std::to_string(status.st_mtim.tv_sec) + '.' + std::to_string(status.st_mtim.tv_nsec);
  Hash hash(HashAlgorithm::kSha256);
  hash.Update(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
  return hash.DigestHex().substr(0, kMarkLength);
}

}  // namespace

bool SetVerifiedMark(int file, const std::string& name) noexcept {
  try {
    const std::string mark = MarkOf(file, name);
    return mark.size() == kMarkLength && ::fsetxattr(file, kAttribute, mark.data(), mark.size(), 0) == 0;
  } catch (...) {
    return false;  // no memory: then it is verified again
  }
}

bool HasVerifiedMark(int file, const std::string& name) {
  std::array<char, kMarkLength + 1> found;
  const ssize_t length = ::fgetxattr(file, kAttribute, found.data(), found.size());
  return length == static_cast<ssize_t>(kMarkLength) &&
         MarkOf(file, name) == std::string_view(found.data(), kMarkLength);
}

}  // namespace gantry
