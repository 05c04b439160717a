// On a thread of its own: it waits for whoever reads its pipe, who needs libuv's pool.
#include "addon/layer_pack.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <exception>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "addon/errors.h"
#include "core/sys.h"
#include "layer/layer_packer.h"
#include "layer/stage_thread.h"

namespace gantry {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;

/// A pipe, written to in large pieces, until the reader or our own process wants no more.
class PipeWriter {
 public:
  explicit PipeWriter(UniqueFd pipe)
      : pipe_(std::move(pipe)), stopped_(checked("make an event", [] { return ::eventfd(0, EFD_CLOEXEC); })) {
    const int flags = checked("look at a pipe", [this] { return ::fcntl(pipe_.get(), F_GETFL); });
    checked("set up a pipe", [this, flags] { return ::fcntl(pipe_.get(), F_SETFL, flags | O_NONBLOCK); });
  }

  void Write(std::string_view bytes) {
    buffer_ += bytes;
    if (buffer_.size() >= kBufferBytes) Flush();
  }
  void Flush() {
    for (std::string_view rest = buffer_; !rest.empty();) {
      const ssize_t written = ::write(pipe_.get(), rest.data(), rest.size());
      if (written >= 0) {
        rest.remove_prefix(static_cast<std::size_t>(written));
      } else if (errno == EAGAIN) {
        Wait();
      } else if (errno != EINTR) {
        throw SysError(errno, "write the layer");
      }
    }
    buffer_.clear();
  }
  void Close() { pipe_ = UniqueFd(); }
  /// From any thread.
  void Stop() const {
    const std::uint64_t one = 1;
    (void)!::write(stopped_.get(), &one, sizeof one);
  }

 private:
  void Wait() const {
    std::array<pollfd, 2> both{pollfd{pipe_.get(), POLLOUT, 0}, pollfd{stopped_.get(), POLLIN, 0}};
    checked("wait for the reader of a layer", [&both] { return ::poll(both.data(), both.size(), -1); });
    if (both[1].revents != 0) throw SysError(ECANCELED, "write the layer");
  }

  UniqueFd pipe_;
  const UniqueFd stopped_;
  std::string buffer_;
};

/// Lives until its promise is settled, or the environment ends.
class Packing : public std::enable_shared_from_this<Packing> {
 public:
  Packing(Napi::Env env, std::string folder, std::set<std::string> left_out, UniqueFd pipe)
      : pipe_(std::move(pipe)),
        answer_(Napi::Promise::Deferred::New(env)),
        tell_(Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                            "gantry layer", 0, 1)),
        folder_(std::move(folder)),
        left_out_(std::move(left_out)) {}

  Napi::Promise Start(Napi::Env env) {
    ::napi_add_env_cleanup_hook(env, AtEnd, this);
    thread_ = StartThread([self = shared_from_this()] { self->Run(); });
    return answer_.Promise();
  }

 private:
  /// Nobody hears an answer any more, and no thread may be left.
  static void AtEnd(void* packing) {
    auto* self = static_cast<Packing*>(packing);
    self->pipe_.Stop();
    self->thread_.join();
  }

  void Run() {
    std::exception_ptr failure;
    try {
      TarWriter tar([this](std::string_view bytes) { pipe_.Write(bytes); });
      LayerPacker(tar, std::move(left_out_)).Pack(folder_);
      pipe_.Flush();
    } catch (...) {
      failure = std::current_exception();
    }
    pipe_.Close();  // the reader's end, before it asks how it went
    tell_.BlockingCall([self = shared_from_this(), failure](Napi::Env env, Napi::Function) {
      self->thread_.join();
      ::napi_remove_env_cleanup_hook(env, AtEnd, self.get());
      self->Settle(env, failure);
    });
    tell_.Release();
  }

  void Settle(Napi::Env env, const std::exception_ptr& failure) {
    if (!failure) return answer_.Resolve(env.Undefined());
    try {
      std::rethrow_exception(failure);
    } catch (const SysError& error) {
      answer_.Reject(ToJs(env, error).Value());
    } catch (const std::exception& error) {
      answer_.Reject(Napi::Error::New(env, error.what()).Value());
    }
  }

  PipeWriter pipe_;
  Napi::Promise::Deferred answer_;
  Napi::ThreadSafeFunction tell_;
  const std::string folder_;
  std::set<std::string> left_out_;
  std::thread thread_;
};

/// packLayer(folder, leftOut: string[], pipe): a promise. The pipe stays the caller's, and is not blocking afterwards.
Napi::Value PackLayer(const Napi::CallbackInfo& info) {
  const auto paths = info[1].As<Napi::Array>();
  std::set<std::string> left_out;
  for (std::uint32_t i = 0; i < paths.Length(); ++i) left_out.insert(paths.Get(i).As<Napi::String>().Utf8Value());
  const int pipe = info[2].As<Napi::Number>();
  try {
    UniqueFd own(checked("duplicate a descriptor", [pipe] { return ::fcntl(pipe, F_DUPFD_CLOEXEC, 0); }));
    return std::make_shared<Packing>(info.Env(), info[0].As<Napi::String>().Utf8Value(), std::move(left_out),
                                     std::move(own))
        ->Start(info.Env());
  } catch (const SysError& error) {
    throw ToJs(info.Env(), error);
  }
}

}  // namespace
}  // namespace gantry

void InitLayerPack(Napi::Env env, Napi::Object exports) {
  exports.Set("packLayer", Napi::Function::New(env, gantry::PackLayer, "packLayer"));
}
