#include "addon/verified_mark.h"

#include <fcntl.h>

#include "core/verified_mark.h"

namespace gantry {
namespace {

/// hasVerifiedMark(descriptor, name): whether it was set of this file, as it is, under this name.
Napi::Value HasMark(const Napi::CallbackInfo& info) {
  const int file = info[0].As<Napi::Number>().Int32Value();
  return Napi::Boolean::New(info.Env(), HasVerifiedMark(file, info[1].As<Napi::String>().Utf8Value()));
}

/// forgetCached(descriptor): what was read of the file is read from the disk the next time.
void ForgetCached(const Napi::CallbackInfo& info) {
  ::posix_fadvise(info[0].As<Napi::Number>().Int32Value(), 0, 0, POSIX_FADV_DONTNEED);
}

}  // namespace
}  // namespace gantry

void InitVerifiedMark(Napi::Env env, Napi::Object exports) {
  exports.Set("hasVerifiedMark", Napi::Function::New(env, gantry::HasMark, "hasVerifiedMark"));
  exports.Set("forgetCached", Napi::Function::New(env, gantry::ForgetCached, "forgetCached"));
}
