// Each call runs on libuv's pool and answers with a promise. The caller keeps the order: a second call waits for the
// first.
#include "addon/layer_writer.h"

#include <sys/stat.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "addon/errors.h"
#include "core/layer_writer.h"

namespace gantry {
namespace {

struct Held {
  std::unique_ptr<LayerWriter> writer;
};
using Shared = std::shared_ptr<Held>;
using Work = std::function<bool(Held&)>;

class Call : public Napi::AsyncWorker {
 public:
  Call(Napi::Env env, Shared held, Work work)
      : Napi::AsyncWorker(env),
        answer_(Napi::Promise::Deferred::New(env)),
        held_(std::move(held)),
        work_(std::move(work)) {}

  void Execute() override {
    try {
      result_ = work_(*held_);
    } catch (const SysError& error) {
      error_ = error;
    }
  }
  void OnOK() override {
    if (error_) return answer_.Reject(ToJs(Env(), *error_).Value());
    answer_.Resolve(Napi::Boolean::New(Env(), result_));
  }
  void OnError(const Napi::Error& error) override { answer_.Reject(error.Value()); }
  Napi::Promise promise() const { return answer_.Promise(); }

 private:
  Napi::Promise::Deferred answer_;
  Shared held_;
  Work work_;
  bool result_ = false;
  std::optional<SysError> error_;
};

std::string Bytes(const Napi::Value& value) {
  if (value.IsString()) return value.As<Napi::String>().Utf8Value();
  const auto bytes = value.As<Napi::Uint8Array>();
  return std::string(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength());
}

std::uint32_t Number(const Napi::Value& value) { return value.As<Napi::Number>().Uint32Value(); }

/// [mode, uid, gid, seconds, nanoseconds, name, value, name, value, …]
Attributes AttributesOf(const Napi::Value& value) {
  const auto list = value.As<Napi::Array>();
  Attributes result;
  result.mode = Number(list.Get(0U));
  result.uid = Number(list.Get(1U));
  result.gid = Number(list.Get(2U));
  result.modified.tv_sec = list.Get(3U).As<Napi::Number>().Int64Value();
  result.modified.tv_nsec = list.Get(4U).As<Napi::Number>().Int64Value();
  for (std::uint32_t at = 5; at + 1 < list.Length(); at += 2)
    result.xattrs.emplace_back(Bytes(list.Get(at)), Bytes(list.Get(at + 1)));
  return result;
}

class Wrapped : public Napi::ObjectWrap<Wrapped> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "LayerWriter",
        {InstanceMethod<&Wrapped::Open>("open"), InstanceMethod<&Wrapped::Directory>("directory"),
         InstanceMethod<&Wrapped::Symlink>("symlink"), InstanceMethod<&Wrapped::Hardlink>("hardlink"),
         InstanceMethod<&Wrapped::Node>("node"), InstanceMethod<&Wrapped::WholeFile>("wholeFile"),
         InstanceMethod<&Wrapped::BeginFile>("beginFile"), InstanceMethod<&Wrapped::AppendFile>("appendFile"),
         InstanceMethod<&Wrapped::FinishFile>("finishFile"), InstanceMethod<&Wrapped::Whiteout>("whiteout"),
         InstanceMethod<&Wrapped::Opaque>("opaque"), InstanceMethod<&Wrapped::Finish>("finish"),
         InstanceMethod<&Wrapped::CompleteAgainst>("completeAgainst"), InstanceMethod<&Wrapped::Close>("close")});
  }
  explicit Wrapped(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Wrapped>(info) {}

 private:
  using Info = const Napi::CallbackInfo&;

  Napi::Value Start(Info info, Work work) {
    auto* call = new Call(info.Env(), held_, std::move(work));  // deletes itself
    const Napi::Promise promise = call->promise();
    call->Queue();
    return promise;
  }
  Napi::Value Write(Info info, std::function<void(LayerWriter&)> work) {
    return Start(info, [work = std::move(work)](Held& held) {
      if (!held.writer) throw SysError(EBADF, "write to a layer that is closed");
      work(*held.writer);
      return false;
    });
  }

  Napi::Value Open(Info info) {
    return Start(info, [directory = Bytes(info[0])](Held& held) {
      held.writer = std::make_unique<LayerWriter>(directory);
      return false;
    });
  }
  Napi::Value Directory(Info info) {
    return Write(info, [path = Bytes(info[0]), attributes = AttributesOf(info[1])](LayerWriter& writer) {
      writer.Directory(path, attributes);
    });
  }
  Napi::Value Symlink(Info info) {
    return Write(info, [path = Bytes(info[0]), target = Bytes(info[1]), attributes = AttributesOf(info[2])](
                           LayerWriter& writer) { writer.Symlink(path, target, attributes); });
  }
  Napi::Value Hardlink(Info info) {
    return Write(
        info, [path = Bytes(info[0]), target = Bytes(info[1])](LayerWriter& writer) { writer.Hardlink(path, target); });
  }
  Napi::Value Node(Info info) {
    const std::string name = Bytes(info[1]);
    const mode_t type = name == "fifo" ? S_IFIFO : name == "block-device" ? S_IFBLK : S_IFCHR;
    return Write(info, [path = Bytes(info[0]), type, major = Number(info[2]), minor = Number(info[3]),
                        attributes = AttributesOf(info[4])](LayerWriter& writer) {
      writer.Node(path, type, major, minor, attributes);
    });
  }
  Napi::Value WholeFile(Info info) {
    return Write(info, [path = Bytes(info[0]), content = Bytes(info[1]),
                        attributes = AttributesOf(info[2])](LayerWriter& writer) {
      writer.BeginFile(path, content);
      writer.FinishFile(attributes);
    });
  }
  Napi::Value BeginFile(Info info) {
    return Write(info, [path = Bytes(info[0])](LayerWriter& writer) { writer.BeginFile(path, ""); });
  }
  Napi::Value AppendFile(Info info) {
    return Write(info, [content = Bytes(info[0])](LayerWriter& writer) { writer.AppendFile(content); });
  }
  Napi::Value FinishFile(Info info) {
    return Write(info, [attributes = AttributesOf(info[0])](LayerWriter& writer) { writer.FinishFile(attributes); });
  }
  Napi::Value Whiteout(Info info) {
    return Write(info, [path = Bytes(info[0])](LayerWriter& writer) { writer.Whiteout(path); });
  }
  Napi::Value Opaque(Info info) {
    return Write(info, [path = Bytes(info[0])](LayerWriter& writer) { writer.Opaque(path); });
  }
  Napi::Value Finish(Info info) {
    return Start(info, [](Held& held) {
      if (!held.writer) throw SysError(EBADF, "finish a layer that is closed");
      return held.writer->Finish();
    });
  }
  Napi::Value CompleteAgainst(Info info) {
    const auto list = info[0].As<Napi::Array>();
    std::vector<std::string> lowers;
    for (std::uint32_t at = 0; at < list.Length(); ++at) lowers.push_back(Bytes(list.Get(at)));
    return Write(info, [lowers = std::move(lowers)](LayerWriter& writer) { writer.CompleteAgainst(lowers); });
  }
  Napi::Value Close(Info info) {
    return Start(info, [](Held& held) {
      held.writer.reset();
      return false;
    });
  }

  Shared held_ = std::make_shared<Held>();
};

}  // namespace
}  // namespace gantry

void InitLayerWriter(Napi::Env env, Napi::Object exports) { exports.Set("LayerWriter", gantry::Wrapped::Define(env)); }
