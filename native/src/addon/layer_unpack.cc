// Not on libuv's pool: it would be held for seconds, while what comes through a pipe is decompressed there.
#include "layer/layer_unpack.h"

#include <fcntl.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "addon/layer_unpack.h"
#include "layer/stage_thread.h"

namespace gantry {
namespace {

/// Progress is told so often.
constexpr std::uint64_t kProgressBytes = 1 << 20;

struct Held {
  std::unique_ptr<LayerWriter> writer;
};

Napi::Error Failure(Napi::Env env, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const SysError& error) {
    return ToJs(env, error);
  } catch (const std::exception& error) {
    return Napi::Error::New(env, error.what());
  }
}

/// One unpacking. Lives until its promise is settled, or the environment ends.
class Running : public std::enable_shared_from_this<Running> {
 public:
  Running(Napi::Env env, UnpackOrder order, std::string folder, const Napi::Function& progress,
          std::shared_ptr<Held> held)
      : answer_(Napi::Promise::Deferred::New(env)),
        tell_(Napi::ThreadSafeFunction::New(env, progress, "gantry layer", 0, 1)),
        folder_(std::move(folder)),
        held_(std::move(held)),
        unpack_(std::move(order), [this](std::uint64_t bytes) { Progress(bytes); }) {}

  Napi::Promise Start(Napi::Env env) {
    ::napi_add_env_cleanup_hook(env, AtEnd, this);
    thread_ = StartThread([self = shared_from_this()] { self->Run(); });
    return answer_.Promise();
  }
  void Cancel() { unpack_.Cancel(); }
  void Reach(std::uint64_t bytes) { unpack_.Reach(bytes); }

 private:
  /// Nobody hears an answer any more, and no thread may be left.
  static void AtEnd(void* running) {
    auto* self = static_cast<Running*>(running);
    self->Cancel();
    self->thread_.join();
  }

  void Run() {
    bool needs_lower = false;
    std::exception_ptr failure;
    try {
      if (!folder_.empty()) held_->writer = std::make_unique<LayerWriter>(folder_);
      needs_lower = unpack_.Run(held_->writer.get());
    } catch (...) {
      failure = std::current_exception();
    }
    tell_.BlockingCall([self = shared_from_this(), needs_lower, failure](Napi::Env env, Napi::Function) {
      self->thread_.join();
      ::napi_remove_env_cleanup_hook(env, AtEnd, self.get());
      self->Settle(env, needs_lower, failure);
    });
    tell_.Release();
  }

  void Settle(Napi::Env env, bool needs_lower, const std::exception_ptr& failure) {
    if (failure) return answer_.Reject(Failure(env, failure).Value());
    const auto milliseconds = [env](std::uint64_t nanoseconds) {
      return Napi::Number::New(env, static_cast<double>(nanoseconds) / 1e6);
    };
    const UnpackCost& cost = unpack_.cost();
    auto result = Napi::Object::New(env);
    result.Set("needsLower", needs_lower);
    result.Set("inflateMs", milliseconds(cost.inflate));
    result.Set("hashMs", milliseconds(cost.hash));
    result.Set("parseMs", milliseconds(cost.parse));
    result.Set("fillMs", milliseconds(cost.fill));
    result.Set("finishMs", milliseconds(cost.finish));
    answer_.Resolve(result);
  }

  void Progress(std::uint64_t bytes) {
    if (bytes < told_ + kProgressBytes) return;
    told_ = bytes;
    tell_.NonBlockingCall([bytes](Napi::Env env, Napi::Function progress) {
      progress.Call({Napi::Number::New(env, static_cast<double>(bytes))});
    });
  }

  Napi::Promise::Deferred answer_;
  Napi::ThreadSafeFunction tell_;
  const std::string folder_;
  const std::shared_ptr<Held> held_;
  LayerUnpack unpack_;
  std::thread thread_;
  std::uint64_t told_ = 0;
};

/// What is short, on libuv's pool.
class Call : public Napi::AsyncWorker {
 public:
  Call(Napi::Env env, std::function<void()> work)
      : Napi::AsyncWorker(env), answer_(Napi::Promise::Deferred::New(env)), work_(std::move(work)) {}

  void Execute() override {
    try {
      work_();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }
  void OnOK() override {
    if (failure_) return answer_.Reject(Failure(Env(), failure_).Value());
    answer_.Resolve(Env().Undefined());
  }
  Napi::Promise promise() const { return answer_.Promise(); }

 private:
  Napi::Promise::Deferred answer_;
  std::function<void()> work_;
  std::exception_ptr failure_;
};

std::uint64_t Count(const Napi::Object& from, const char* key) {
  return static_cast<std::uint64_t>(from.Get(key).As<Napi::Number>().Int64Value());
}

UnpackOrder OrderFrom(const Napi::Object& from) {
  const int blob = from.Get("blob").As<Napi::Number>();
  UnpackOrder order;
  order.blob = UniqueFd(checked("duplicate a descriptor", [&] { return ::fcntl(blob, F_DUPFD_CLOEXEC, 0); }));
  if (!from.Get("readable").IsUndefined()) order.readable = Count(from, "readable");
  const std::string compression = from.Get("compression").ToString();
  order.compression = compression == "gzip"   ? Compression::kGzip
                      : compression == "zstd" ? Compression::kZstd
                                              : Compression::kNone;
  order.algorithm = from.Get("isSha512").ToBoolean() ? HashAlgorithm::kSha512 : HashAlgorithm::kSha256;
  order.digest_hex = from.Get("digestHex").As<Napi::String>().Utf8Value();
  order.limits = {Count(from, "tarBytes"), Count(from, "entries"), Count(from, "devices"), Count(from, "xattrBytes"),
                  Count(from, "pathBytes")};
  order.filling_threads = static_cast<unsigned>(Count(from, "threads"));
  return order;
}

class Wrapped : public Napi::ObjectWrap<Wrapped> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "LayerUnpack",
        {InstanceMethod<&Wrapped::Run>("run"), InstanceMethod<&Wrapped::Cancel>("cancel"),
         InstanceMethod<&Wrapped::Reach>("reach"), InstanceMethod<&Wrapped::CompleteAgainst>("completeAgainst"),
         InstanceMethod<&Wrapped::Close>("close")});
  }
  explicit Wrapped(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Wrapped>(info) {}

 private:
  /// run(order, folder or '', progress)
  Napi::Value Run(const Napi::CallbackInfo& info) {
    try {
      auto running =
          std::make_shared<Running>(info.Env(), OrderFrom(info[0].As<Napi::Object>()),
                                    info[1].As<Napi::String>().Utf8Value(), info[2].As<Napi::Function>(), held_);
      running_ = running;
      return running->Start(info.Env());
    } catch (const SysError& error) {
      throw ToJs(info.Env(), error);
    }
  }
  void Cancel(const Napi::CallbackInfo&) {
    if (const auto running = running_.lock()) running->Cancel();
  }
  /// reach(bytes), or reach() for all
  void Reach(const Napi::CallbackInfo& info) {
    const auto bytes =
        info[0].IsUndefined() ? Growth::kWhole : static_cast<std::uint64_t>(info[0].As<Napi::Number>().Int64Value());
    if (const auto running = running_.lock()) running->Reach(bytes);
  }
  Napi::Value CompleteAgainst(const Napi::CallbackInfo& info) {
    const auto list = info[0].As<Napi::Array>();
    std::vector<std::string> lowers;
    for (std::uint32_t at = 0; at < list.Length(); ++at) lowers.push_back(list.Get(at).As<Napi::String>().Utf8Value());
    return Queue(info, [held = held_, lowers = std::move(lowers)] {
      if (!held->writer) throw SysError(EBADF, "complete a layer that is closed");
      held->writer->CompleteAgainst(lowers);
    });
  }
  Napi::Value Close(const Napi::CallbackInfo& info) {
    return Queue(info, [held = held_] { held->writer.reset(); });
  }
  Napi::Value Queue(const Napi::CallbackInfo& info, std::function<void()> work) {
    auto* call = new Call(info.Env(), std::move(work));  // deletes itself
    const Napi::Promise promise = call->promise();
    call->Queue();
    return promise;
  }

  std::shared_ptr<Held> held_ = std::make_shared<Held>();
  std::weak_ptr<Running> running_;
};

/// [where to read, where to write]
Napi::Value OpenPipe(const Napi::CallbackInfo& info) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw ToJs(info.Env(), SysError(errno, "open a pipe"));
  constexpr int kPipeBytes = 1 << 20;
  ::fcntl(ends[1], F_SETPIPE_SZ, kPipeBytes);  // it works with less, too
  auto both = Napi::Array::New(info.Env(), 2);
  both.Set(0U, ends[0]);
  both.Set(1U, ends[1]);
  return both;
}

}  // namespace
}  // namespace gantry

void InitLayerUnpack(Napi::Env env, Napi::Object exports) {
  exports.Set("LayerUnpack", gantry::Wrapped::Define(env));
  exports.Set("hasZstd", Napi::Function::New(
                             env,
                             [](const Napi::CallbackInfo& info) -> Napi::Value {
                               return Napi::Boolean::New(info.Env(), gantry::Zstd::IsThere());
                             },
                             "hasZstd"));
  exports.Set("openPipe", Napi::Function::New(env, gantry::OpenPipe, "openPipe"));
}
