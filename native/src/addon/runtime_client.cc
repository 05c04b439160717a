#include "addon/runtime_client.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <thread>

#include "addon/errors.h"
#include "core/spawn.h"
#include "core/sys.h"
#include "runtime/protocol.h"

namespace gantry {
namespace {

/// Hands each message to JavaScript; the last one, of type 0, says that the helper is gone.
void Deliver(Napi::Env env, Napi::Function callback, Message* raw) {
  const std::unique_ptr<Message> message(raw);
  if (env == nullptr) return;
  Napi::Array descriptors = Napi::Array::New(env);
  for (std::uint32_t i = 0; i < message->descriptors.size(); ++i) {
    descriptors.Set(i, Napi::Number::New(env, message->descriptors[i].release()));
  }
  callback.Call({Napi::Number::New(env, message->type), Napi::Number::New(env, message->ticket),
                 Napi::Number::New(env, message->first), Napi::Number::New(env, message->second),
                 Napi::String::New(env, message->text), Napi::String::New(env, message->more), descriptors});
}

class RuntimeClient : public Napi::ObjectWrap<RuntimeClient> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "RuntimeClient",
                       {InstanceMethod<&RuntimeClient::Send>("send"), InstanceMethod<&RuntimeClient::Close>("close"),
                        InstanceMethod<&RuntimeClient::Ref>("ref"), InstanceMethod<&RuntimeClient::Unref>("unref")});
  }

  explicit RuntimeClient(const Napi::CallbackInfo& info) : Napi::ObjectWrap<RuntimeClient>(info) {
    Napi::Env env = info.Env();
    if (info.Length() != 3 || !info[0].IsString() || !info[1].IsString() || !info[2].IsFunction()) {
      throw Napi::TypeError::New(env, "RuntimeClient(executable: string, stateRoot: string, onMessage: function)");
    }
    try {
      int pair[2];
      checked("make a socket pair", [&] { return ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair); });
      socket_ = std::make_shared<UniqueFd>(pair[0]);
      const UniqueFd theirs(pair[1]);
      const pid_t helper =
          SpawnRuntime(info[0].As<Napi::String>(), {"--root", info[1].As<Napi::String>(), "serve"}, theirs.get());
      messages_ = Napi::ThreadSafeFunction::New(env, info[2].As<Napi::Function>(), "gantry-runtime", 0, 1);
      messages_.Unref(env);
      // The thread owns a share of all it uses and may outlive this object: its end is the end of the helper.
      std::thread([socket = socket_, helper, messages = messages_]() mutable {
        Read(socket->get(), helper, messages);
      }).detach();
      env.AddCleanupHook([socket = socket_] { ::shutdown(socket->get(), SHUT_RDWR); });
    } catch (const SysError& error) {
      throw ToJs(env, error);
    }
  }

 private:
  static void Read(int socket, pid_t helper, Napi::ThreadSafeFunction& messages) {
    bool open = true;  // once it said that it is closing, it may be freed at any moment: it is not touched again
    bool closed = false;
    try {
      while (true) {
        auto message = ReceiveMessage(socket);
        closed = !message;
        if (closed) break;
        auto owned = std::make_unique<Message>(std::move(*message));
        open = messages.BlockingCall(owned.get(), Deliver) == napi_ok;
        if (!open) break;
        owned.release();
      }
    } catch (const SysError&) {
      // A helper that talks nonsense is as good as gone.
    }
    ::shutdown(socket, SHUT_RDWR);  // whatever the reason: now it ends, and takes its containers along
    // Whoever closes has cleaned up first; it may then stay, for what was told to go on without us.
    if (!closed) AwaitRuntime(helper);
    if (open) {
      auto last = std::make_unique<Message>();
      if (messages.BlockingCall(last.get(), Deliver) == napi_ok) {
        last.release();
        messages.Release();
      }
    }
    if (closed) AwaitRuntime(helper);
  }

  /// send(type, ticket, first, text, more, descriptors): false if there is no room for it now
  Napi::Value Send(const Napi::CallbackInfo& info) {
    Message message;
    message.type = info[0].As<Napi::Number>().Uint32Value();
    message.ticket = info[1].As<Napi::Number>().Uint32Value();
    message.first = info[2].As<Napi::Number>().Int32Value();
    message.text = info[3].As<Napi::String>();
    message.more = info[4].As<Napi::String>();
    const auto numbers = info[5].As<Napi::Array>();
    std::vector<int> descriptors;
    for (std::uint32_t i = 0; i < numbers.Length() && i < kMaxDescriptors; ++i) {
      descriptors.push_back(numbers.Get(i).As<Napi::Number>().Int32Value());
    }
    if (message.text.size() + message.more.size() > kMaxText) {
      throw ToJs(info.Env(), SysError(E2BIG, "tell the runtime what to run"));
    }
    const bool sent = SendMessage(socket_->get(), message, descriptors, MSG_DONTWAIT);
    if (!sent && errno != EAGAIN) throw ToJs(info.Env(), SysError(errno, "talk to the runtime"));
    return Napi::Boolean::New(info.Env(), sent);
  }

  /// The helper reads the end of the conversation, kills what still runs, cleans up and goes.
  void Close(const Napi::CallbackInfo&) { ::shutdown(socket_->get(), SHUT_WR); }
  void Ref(const Napi::CallbackInfo& info) { messages_.Ref(info.Env()); }
  void Unref(const Napi::CallbackInfo& info) { messages_.Unref(info.Env()); }

  std::shared_ptr<UniqueFd> socket_;
  Napi::ThreadSafeFunction messages_;
};

void SetTerminalSize(const Napi::CallbackInfo& info) {
  const winsize size{static_cast<unsigned short>(info[2].As<Napi::Number>().Uint32Value()),
                     static_cast<unsigned short>(info[1].As<Napi::Number>().Uint32Value()), 0, 0};
  const int fd = info[0].As<Napi::Number>().Int32Value();
  if (::ioctl(fd, TIOCSWINSZ, &size) != 0) throw ToJs(info.Env(), SysError(errno, "resize the terminal"));
}

}  // namespace
}  // namespace gantry

void InitRuntimeClient(Napi::Env env, Napi::Object exports) {
  exports.Set("RuntimeClient", gantry::RuntimeClient::Define(env));
  exports.Set("setTerminalSize", Napi::Function::New(env, gantry::SetTerminalSize, "setTerminalSize"));
}
