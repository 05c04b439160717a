#include "addon/monitor_start.h"

#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <string>

#include "addon/errors.h"
#include "core/spawn.h"
#include "core/sys.h"

namespace gantry {
namespace {

/// On a thread of the pool: the process that is spawned is only waited for until it has left us.
class MonitorStart : public Napi::AsyncWorker {
 public:
  MonitorStart(Napi::Env env, std::string executable, std::string folder)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        executable_(std::move(executable)),
        folder_(std::move(folder)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    try {
      int pair[2];
      checked("make a socket pair", [&] { return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair); });
      socket_ = UniqueFd(pair[0]);
      const UniqueFd theirs(pair[1]);
      if (!AwaitRuntime(SpawnRuntime(executable_, {"monitor", folder_}, theirs.get()))) {
        throw SysError(ECHILD, "start a monitor for " + folder_ + " (its reason is on standard error)");
      }
    } catch (const SysError& error) {
      failure_ = error;
      SetError(error.what());
    }
  }

  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), socket_.release())); }
  void OnError(const Napi::Error&) override { deferred_.Reject(ToJs(Env(), *failure_).Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  std::string executable_;
  std::string folder_;
  UniqueFd socket_;
  std::optional<SysError> failure_;
};

Napi::Value StartMonitor(const Napi::CallbackInfo& info) {
  auto* worker = new MonitorStart(info.Env(), info[0].As<Napi::String>(), info[1].As<Napi::String>());
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace
}  // namespace gantry

void InitMonitorStart(Napi::Env env, Napi::Object exports) {
  exports.Set("startMonitor", Napi::Function::New(env, gantry::StartMonitor, "startMonitor"));
}
