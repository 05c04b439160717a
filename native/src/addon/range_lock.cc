#include "addon/range_lock.h"

#include <fcntl.h>

#include "addon/errors.h"
#include "core/sys.h"

namespace gantry {
namespace {

/// The descriptor that holds the lock, or undefined if somebody else does. Each lock has a description of its own, so
/// that two holders in one process exclude each other too.
Napi::Value TryLockRange(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  try {
    UniqueFd file(
        checked("open the lock file", [&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600); }));
    struct flock range = {};
    range.l_type = info[3].ToBoolean() ? F_WRLCK : F_RDLCK;
    range.l_whence = SEEK_SET;
    range.l_start = info[1].As<Napi::Number>().Int64Value();
    range.l_len = info[2].As<Napi::Number>().Int64Value();
    if (::fcntl(file.get(), F_OFD_SETLK, &range) == -1) {
      if (errno == EAGAIN || errno == EACCES) return env.Undefined();
      throw SysError(errno, "lock a range of " + path);
    }
    return Napi::Number::New(env, file.release());
  } catch (const SysError& error) {
    throw ToJs(env, error);
  }
}

/// Closing the description is what lets go of the lock.
void UnlockRange(const Napi::CallbackInfo& info) { const UniqueFd closed(info[0].As<Napi::Number>().Int32Value()); }

}  // namespace
}  // namespace gantry

void InitRangeLock(Napi::Env env, Napi::Object exports) {
  exports.Set("tryLockRange", Napi::Function::New(env, gantry::TryLockRange, "tryLockRange"));
  exports.Set("unlockRange", Napi::Function::New(env, gantry::UnlockRange, "unlockRange"));
}
