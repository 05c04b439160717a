#include "addon/overlay.h"

#include <napi.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "core/sys.h"
#include "layer/overlay_mount.h"
#include "layer/stage_thread.h"

namespace gantry {
namespace {

std::string Text(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }

/// mountOverlay(lower: string[], upper, work, target, lasting): the uppermost layer comes first.
Napi::Value MountOverlayFor(const Napi::CallbackInfo& info) {
  try {
    const auto names = info[0].As<Napi::Array>();
    std::vector<std::string> lower;
    for (std::uint32_t i = 0; i < names.Length(); ++i) lower.push_back(Text(names.Get(i)));
    MountOverlay({lower, Text(info[1]), Text(info[2]), Text(info[3]), info[4].As<Napi::Boolean>()});
    return info.Env().Undefined();
  } catch (const SysError& error) {
    throw ToJs(info.Env(), error);
  }
}

/// On a thread of its own: the kernel writes down all that the whole disk has to write before it lets an overlay go.
/// Many at once share that; one after the other each pays for it.
class Unmounting : public std::enable_shared_from_this<Unmounting> {
 public:
  Unmounting(Napi::Env env, std::string target)
      : answer_(Napi::Promise::Deferred::New(env)),
        tell_(Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                            "gantry unmount", 0, 1)),
        target_(std::move(target)) {}

  Napi::Promise Start(Napi::Env env) {
    ::napi_add_env_cleanup_hook(env, AtEnd, this);
    thread_ = StartThread([self = shared_from_this()] { self->Run(); });
    return answer_.Promise();
  }

 private:
  static void AtEnd(void* unmounting) { static_cast<Unmounting*>(unmounting)->thread_.join(); }

  void Run() {
    try {
      was_mounted_ = Unmount(target_);
    } catch (const SysError& error) {
      failure_ = error;
    }
    tell_.BlockingCall([self = shared_from_this()](Napi::Env env, Napi::Function) {
      self->thread_.join();
      ::napi_remove_env_cleanup_hook(env, AtEnd, self.get());
      self->Settle(env);
    });
    tell_.Release();
  }

  void Settle(Napi::Env env) {
    if (!failure_) return answer_.Resolve(Napi::Boolean::New(env, was_mounted_));
    answer_.Reject(ToJs(env, *failure_).Value());
  }

  Napi::Promise::Deferred answer_;
  Napi::ThreadSafeFunction tell_;
  const std::string target_;
  bool was_mounted_ = false;
  std::optional<SysError> failure_;
  std::thread thread_;
};

/// unmount(target): a promise; true if something was mounted there. Detaches at once; what still uses it keeps it
/// alive.
Napi::Value UnmountLater(const Napi::CallbackInfo& info) {
  return std::make_shared<Unmounting>(info.Env(), Text(info[0]))->Start(info.Env());
}

}  // namespace
}  // namespace gantry

void InitOverlay(Napi::Env env, Napi::Object exports) {
  exports.Set("mountOverlay", Napi::Function::New(env, gantry::MountOverlayFor, "mountOverlay"));
  exports.Set("unmount", Napi::Function::New(env, gantry::UnmountLater, "unmount"));
}
