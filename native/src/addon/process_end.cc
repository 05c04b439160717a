#include "addon/process_end.h"

#include <unistd.h>

namespace {

/// exitNow(code): the kernel takes down in no time what Node takes down piece by piece. Whoever calls has nothing left
/// to do or to write.
void ExitNow(const Napi::CallbackInfo& info) { ::_exit(info[0].As<Napi::Number>().Int32Value()); }

}  // namespace

void InitProcessEnd(Napi::Env env, Napi::Object exports) {
  exports.Set("exitNow", Napi::Function::New(env, ExitNow, "exitNow"));
}
