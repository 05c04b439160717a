#include "addon/hash.h"

#include <memory>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/hash.h"

namespace gantry {
namespace {

using Bytes = std::span<const std::uint8_t>;

Bytes BytesOf(const Napi::Value& value) {
  const auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

/// Hashes in the pool. The hash is shared, so that it outlives its JavaScript object; the blocks are kept by reference.
class UpdateWorker : public Napi::AsyncWorker {
 public:
  UpdateWorker(Napi::Env env, std::shared_ptr<Hash> hash, const Napi::Array& blocks)
      : Napi::AsyncWorker(env), promise_(Napi::Promise::Deferred::New(env)), hash_(std::move(hash)) {
    kept_ = Napi::Persistent(blocks);
    for (std::uint32_t i = 0; i < blocks.Length(); ++i) pieces_.push_back(BytesOf(blocks.Get(i)));
  }
  Napi::Promise promise() const { return promise_.Promise(); }

 protected:
  void Execute() override {
    for (const Bytes piece : pieces_) hash_->Update(piece);
  }
  void OnOK() override { promise_.Resolve(Env().Undefined()); }
  void OnError(const Napi::Error& error) override { promise_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred promise_;
  std::shared_ptr<Hash> hash_;
  Napi::Reference<Napi::Array> kept_;
  std::vector<Bytes> pieces_;
};

/// One update at a time: the TypeScript side sees to it.
class HashObject : public Napi::ObjectWrap<HashObject> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("Hash", DefineClass(env, "Hash",
                                    {
                                        InstanceMethod<&HashObject::Update>("update"),
                                        InstanceMethod<&HashObject::UpdateNow>("updateNow"),
                                        InstanceMethod<&HashObject::Export>("export"),
                                        InstanceMethod<&HashObject::DigestHex>("digestHex"),
                                        InstanceMethod<&HashObject::Algorithm>("algorithm"),
                                        InstanceMethod<&HashObject::BytesHashed>("bytesHashed"),
                                    }));
  }

  /// (exported state) or (is it SHA-512, portable).
  explicit HashObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<HashObject>(info) {
    if (info[0].IsTypedArray()) {
      try {
        hash_ = std::make_shared<Hash>(Hash::Import(BytesOf(info[0])));
      } catch (const std::invalid_argument& error) {
        throw Napi::TypeError::New(info.Env(), error.what());
      }
    } else {
      const bool wide = info[0].ToBoolean();
      hash_ = std::make_shared<Hash>(wide ? HashAlgorithm::kSha512 : HashAlgorithm::kSha256, info[1].ToBoolean());
    }
  }

 private:
  Napi::Value Update(const Napi::CallbackInfo& info) {
    auto* worker = new UpdateWorker(info.Env(), hash_, info[0].As<Napi::Array>());
    const Napi::Promise promise = worker->promise();
    worker->Queue();  // deletes itself when it is done
    return promise;
  }
  void UpdateNow(const Napi::CallbackInfo& info) {
    const auto blocks = info[0].As<Napi::Array>();
    for (std::uint32_t i = 0; i < blocks.Length(); ++i) hash_->Update(BytesOf(blocks.Get(i)));
  }
  Napi::Value Export(const Napi::CallbackInfo& info) {
    const auto state = hash_->Export();
    return Napi::Buffer<std::uint8_t>::Copy(info.Env(), state.data(), state.size());
  }
  Napi::Value DigestHex(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), hash_->DigestHex()); }
  Napi::Value Algorithm(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), hash_->algorithm() == HashAlgorithm::kSha256 ? "sha256" : "sha512");
  }
  Napi::Value BytesHashed(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(hash_->bytes_hashed()));
  }

  std::shared_ptr<Hash> hash_;
};

}  // namespace
}  // namespace gantry

void InitHash(Napi::Env env, Napi::Object exports) { gantry::HashObject::Init(env, exports); }
