// An extended attribute that says of which file it was set: inode, size and time of the last change of its bytes. It
// goes where the file goes, through renames and restarts, and means nothing on a copy, or once the bytes were written
// to.
#include "addon/verified_mark.h"

#include <fcntl.h>
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

/// hasVerifiedMark(descriptor, name): whether it was set of this file, as it is, under this name.
Napi::Value HasVerifiedMark(const Napi::CallbackInfo& info) {
  const int file = info[0].As<Napi::Number>().Int32Value();
  std::array<char, kMarkLength + 1> found;
  const ssize_t length = ::fgetxattr(file, kAttribute, found.data(), found.size());
  if (length != static_cast<ssize_t>(kMarkLength)) return Napi::Boolean::New(info.Env(), false);
  const std::string expected = MarkOf(file, info[1].As<Napi::String>().Utf8Value());
  return Napi::Boolean::New(info.Env(), expected == std::string_view(found.data(), kMarkLength));
}

/// forgetCached(descriptor): what was read of the file is read from the disk the next time.
void ForgetCached(const Napi::CallbackInfo& info) {
  ::posix_fadvise(info[0].As<Napi::Number>().Int32Value(), 0, 0, POSIX_FADV_DONTNEED);
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

}  // namespace gantry

void InitVerifiedMark(Napi::Env env, Napi::Object exports) {
  exports.Set("hasVerifiedMark", Napi::Function::New(env, gantry::HasVerifiedMark, "hasVerifiedMark"));
  exports.Set("forgetCached", Napi::Function::New(env, gantry::ForgetCached, "forgetCached"));
}
