// sendfile(2) into sockets.
#include "addon/file_sender.h"

#include <sys/epoll.h>
#include <sys/sendfile.h>

#include <algorithm>
#include <cstdint>
#include <memory>

#include "addon/errors.h"
#include "addon/socket_jobs.h"

namespace gantry {
namespace {

/// A turn of one transfer: others of its thread wait no longer than this takes.
constexpr std::int64_t kTurnBytes = 1 << 20;

class Sending : public SocketJob {
 public:
  /// `file` is open until the end was told: the TypeScript side sees to it.
  Sending(int to, int file, off_t start, std::int64_t length)
      : SocketJob(to, EPOLLOUT), file_(file), offset_(start), left_(length) {
    Unpaced(to);
  }

  Turn Run() override {
    const auto wanted = static_cast<std::size_t>(std::min(left_, kTurnBytes));
    const ssize_t count = ::sendfile(socket(), file_, &offset_, wanted);
    if (count < 0) {
      if (errno == EAGAIN || errno == EINTR) return Turn::kAgain;
      error = errno;
      return Turn::kOver;
    }
    left_ -= count;
    moved_bytes_ += count;
    return count == 0 || left_ == 0 ? Turn::kOver : Turn::kAgain;  // none: the file has become shorter
  }

  Telling End() override {
    return [which = id, failed = error, sent = moved_bytes()](Napi::Env env, const Napi::Function& callback) {
      callback.Call({Napi::Number::New(env, which), Napi::Number::New(env, failed),
                     Napi::Number::New(env, static_cast<double>(sent))});
    };
  }

 private:
  const int file_;
  off_t offset_;
  std::int64_t left_;
};

/// start(socket, file, start, length).
Napi::Value Start(const Napi::CallbackInfo& info) {
  try {
    auto job =
        std::make_shared<Sending>(info[0].As<Napi::Number>(), info[1].As<Napi::Number>(),
                                  info[2].As<Napi::Number>().Int64Value(), info[3].As<Napi::Number>().Int64Value());
    return Napi::Number::New(info.Env(), static_cast<SocketJobs*>(info.Data())->Start(info.Env(), std::move(job)));
  } catch (const SysError& error) {
    throw ToJs(info.Env(), error);
  }
}

/// openFileSender(callback, into).
void OpenFileSender(const Napi::CallbackInfo& info) {
  auto into = info[1].As<Napi::Object>();
  SocketJobs& jobs =
      OpenSocketJobs(info.Env(), info[0].As<Napi::Function>(), "gantry file sender", kMostSocketThreads, into);
  into.Set("start", Napi::Function::New(info.Env(), Start, "start", &jobs));
}

}  // namespace
}  // namespace gantry

void InitFileSender(Napi::Env env, Napi::Object exports) {
  exports.Set("openFileSender", Napi::Function::New(env, gantry::OpenFileSender, "openFileSender"));
}
