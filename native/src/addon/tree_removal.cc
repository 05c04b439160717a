#include "addon/tree_removal.h"

#include <fcntl.h>

#include <cerrno>
#include <optional>
#include <string>

#include "addon/errors.h"
#include "core/sys.h"
#include "layer/layer_files.h"

namespace gantry {
namespace {

/// On a thread of the pool: one way there and back for the whole tree.
class TreeRemoval : public Napi::AsyncWorker {
 public:
  TreeRemoval(Napi::Env env, std::string path)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), path_(std::move(path)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    const auto slash = path_.rfind('/');
    const std::string parent = path_.substr(0, slash + 1), name = path_.substr(slash + 1);
    const std::string doing = "remove " + path_;
    try {
      const UniqueFd folder(
          checked(doing.c_str(), [&] { return ::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
      RemoveTree(folder.get(), name, doing);
    } catch (const SysError& error) {
      if (error.code().value() == ENOENT) return;
      failure_ = error;
      SetError(error.what());
    }
  }

  void OnOK() override { deferred_.Resolve(Env().Undefined()); }
  void OnError(const Napi::Error&) override { deferred_.Reject(ToJs(Env(), *failure_).Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  std::string path_;
  std::optional<SysError> failure_;
};

/// removeTree(path): a promise. The path is absolute.
Napi::Value RemoveTreeAt(const Napi::CallbackInfo& info) {
  auto* worker = new TreeRemoval(info.Env(), info[0].As<Napi::String>());
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace
}  // namespace gantry

void InitTreeRemoval(Napi::Env env, Napi::Object exports) {
  exports.Set("removeTree", Napi::Function::New(env, gantry::RemoveTreeAt, "removeTree"));
}
