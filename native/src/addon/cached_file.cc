// What the kernel has in memory, read by the thread that asks: names by RESOLVE_CACHED (Linux 5.12), bytes by
// RWF_NOWAIT. Both fail with EAGAIN instead of waiting for the disk. Older kernels and filesystems that know neither
// answer "ask the disk" for everything.
#include "addon/cached_file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <string>

#include "core/sys.h"

namespace gantry {
namespace {

/// The longest that the kernel takes.
constexpr std::size_t kMostPath = 4096;

/// -1 with errno: ENOENT if memory knows that there is none, else whatever kept it from knowing.
int OpenCached(const Napi::Value& name, std::uint64_t flags) {
  std::array<char, kMostPath> path;
  std::size_t length = 0;
  if (napi_get_value_string_utf8(name.Env(), name, path.data(), path.size(), &length) != napi_ok ||
      length + 1 == path.size()) {
    errno = ENAMETOOLONG;
    return -1;
  }
  struct open_how how = {};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_CACHED;
  return static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.data(), &how, sizeof how));
}

/// null if there is no such file, undefined if only the disk knows.
Napi::Value NullIfAbsent(Napi::Env env, int error) { return error == ENOENT ? env.Null() : env.Undefined(); }

/// readCached(path, into, known): how many bytes there are, or true if they are those of `known`, which may be
/// undefined; undefined also for what does not fit with a byte to spare.
Napi::Value ReadCached(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const UniqueFd file(OpenCached(info[0], O_RDONLY | O_NONBLOCK));
  if (file.get() < 0) return NullIfAbsent(env, errno);
  auto into = info[1].As<Napi::Uint8Array>();
  struct iovec whole = {into.Data(), into.ByteLength()};
  const ssize_t count = ::preadv2(file.get(), &whole, 1, 0, RWF_NOWAIT);
  if (count < 0 || static_cast<std::size_t>(count) == into.ByteLength()) return env.Undefined();
  // Less than the whole may be all that was in memory.
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0 || status.st_size != count) return env.Undefined();
  if (info[2].IsTypedArray()) {
    const auto known = info[2].As<Napi::Uint8Array>();
    const auto length = static_cast<std::size_t>(count);
    if (known.ByteLength() == length && std::memcmp(known.Data(), into.Data(), length) == 0) {
      return Napi::Boolean::New(env, true);
    }
  }
  return Napi::Number::New(env, static_cast<double>(count));
}

/// statCached(path, into): true after filling `into` (a Float64Array: size, milliseconds), null or undefined as above.
Napi::Value StatCached(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const UniqueFd file(OpenCached(info[0], O_PATH));
  if (file.get() < 0) return NullIfAbsent(env, errno);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) return env.Undefined();
  double* into = info[1].As<Napi::Float64Array>().Data();
  into[0] = static_cast<double>(status.st_size);
  into[1] = static_cast<double>(status.st_mtim.tv_sec) * 1e3 + static_cast<double>(status.st_mtim.tv_nsec) / 1e6;
  return Napi::Boolean::New(env, true);
}

}  // namespace
}  // namespace gantry

void InitCachedFile(Napi::Env env, Napi::Object exports) {
  exports.Set("readCached", Napi::Function::New(env, gantry::ReadCached, "readCached"));
  exports.Set("statCached", Napi::Function::New(env, gantry::StatCached, "statCached"));
}
