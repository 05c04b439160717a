// madvise(2) instead of free: nobody who still has the buffer, a socket that writes from it among them, can meet memory
// that is somebody else's by then.
#include "addon/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace gantry {
namespace {

/// forgetPages(bytes): of pages that lie wholly in it. It is memory of the process alone, as all that V8 allocates.
void ForgetPages(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<std::uintptr_t>(bytes.Data());
  const std::uintptr_t first = (start + page - 1) / page * page;
  const std::uintptr_t end = (start + bytes.ByteLength()) / page * page;
  // Where the kernel does not want to, the pages stay: nothing depends on it.
  if (end > first) ::madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
}

}  // namespace
}  // namespace gantry

void InitMemory(Napi::Env env, Napi::Object exports) {
  exports.Set("forgetPages", Napi::Function::New(env, gantry::ForgetPages, "forgetPages"));
}
