// sendfile(2) into sockets that do not block, driven by epoll in a few threads: a slow client costs an entry in a
// table, not a thread, and a slow disk holds up one of these threads, not the event loop or libuv's pool.
#include "addon/file_sender.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "core/sys.h"

namespace gantry {
namespace {

/// A turn of one transfer: others of its thread wait no longer than this takes.
constexpr std::int64_t kTurnBytes = 1 << 20;
constexpr std::size_t kMostThreads = 4;
constexpr std::size_t kEventsAtOnce = 64;

struct Transfer {
  std::uint32_t id;
  UniqueFd socket;  // our own, because JavaScript may close its one at any time
  int file;         // open until its end was reported: the TypeScript side sees to it
  off_t offset;
  std::int64_t left;
  std::atomic<std::int64_t> sent = 0;
};

struct Finished {
  std::uint32_t id;
  int error;
  std::int64_t sent;
};

using Report = std::function<void(const Finished&)>;

/// One thread with the transfers that were given to it.
class Sender {
 public:
  explicit Sender(Report report)
      : report_(std::move(report)),
        epoll_(checked("create an epoll", [] { return ::epoll_create1(EPOLL_CLOEXEC); })),
        wake_(checked("create an eventfd", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); })) {
    struct epoll_event event = {};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    checked("watch an eventfd", [&] { return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event); });
    // Signals are for the main thread.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { Run(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~Sender() {
    Tell([this] { stopping_ = true; });
    thread_.join();
  }
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  void Start(std::shared_ptr<Transfer> transfer) {
    load_ += 1;
    Tell([&] { started_.push_back(std::move(transfer)); });
  }
  /// It is reported as finished, with ECANCELED unless it was quicker.
  void Cancel(std::uint32_t id) {
    Tell([&] { cancelled_.push_back(id); });
  }
  std::size_t load() const { return load_; }

 private:
  template <typename Note>
  void Tell(Note note) {
    {
      const std::lock_guard<std::mutex> held(mutex_);
      note();
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);  // full is as good as written
  }

  void Run() {
    std::array<struct epoll_event, kEventsAtOnce> events;
    for (;;) {
      const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
      bool told = false;
      for (int i = 0; i < count; ++i) {
        if (events[static_cast<std::size_t>(i)].data.ptr == nullptr) {
          told = true;
        } else {
          Push(*static_cast<Transfer*>(events[static_cast<std::size_t>(i)].data.ptr));
        }
      }
      // After the events, which may be of transfers that are cancelled here.
      if (told && !Listen()) return;
    }
  }

  /// False when it is time to stop.
  bool Listen() {
    std::uint64_t ignored;
    [[maybe_unused]] const auto drained = ::read(wake_.get(), &ignored, sizeof ignored);
    std::vector<std::shared_ptr<Transfer>> started;
    std::vector<std::uint32_t> cancelled;
    {
      const std::lock_guard<std::mutex> held(mutex_);
      if (stopping_) return false;
      started.swap(started_);
      cancelled.swap(cancelled_);
    }
    for (auto& transfer : started) {
      struct epoll_event event = {};
      event.events = EPOLLOUT;
      event.data.ptr = transfer.get();
      Transfer& kept = *transfer;
      running_.emplace(kept.id, std::move(transfer));
      if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, kept.socket.get(), &event) != 0) Finish(kept, errno);
    }
    for (const auto id : cancelled) {
      if (const auto found = running_.find(id); found != running_.end()) Finish(*found->second, ECANCELED);
    }
    return true;
  }

  void Push(Transfer& transfer) {
    const auto wanted = static_cast<std::size_t>(std::min(transfer.left, kTurnBytes));
    const ssize_t count = ::sendfile(transfer.socket.get(), transfer.file, &transfer.offset, wanted);
    if (count < 0) {
      if (errno != EAGAIN && errno != EINTR) Finish(transfer, errno);
      return;
    }
    transfer.left -= count;
    transfer.sent += count;
    if (count == 0 || transfer.left == 0) Finish(transfer, 0);  // none: the file has become shorter
  }

  void Finish(const Transfer& transfer, int error) {
    const Finished finished = {transfer.id, error, transfer.sent};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, transfer.socket.get(), nullptr);
    running_.erase(finished.id);  // ends `transfer`
    load_ -= 1;
    report_(finished);
  }

  const Report report_;
  const UniqueFd epoll_;
  const UniqueFd wake_;
  std::atomic<std::size_t> load_ = 0;
  std::unordered_map<std::uint32_t, std::shared_ptr<Transfer>> running_;  // the thread's own
  std::mutex mutex_;                                                      // guards what follows
  std::vector<std::shared_ptr<Transfer>> started_;
  std::vector<std::uint32_t> cancelled_;
  bool stopping_ = false;
  std::thread thread_;
};

/// What the addon keeps for one JavaScript environment; used by its thread only.
class FileSender {
 public:
  FileSender(Napi::Env env, const Napi::Function& callback)
      : finished_(Napi::ThreadSafeFunction::New(env, callback, "gantry file sender", 0, 1)) {
    finished_.Unref(env);
  }

  std::uint32_t Start(Napi::Env env, int socket, int file, off_t start, std::int64_t length) {
    auto transfer = std::make_shared<Transfer>();
    transfer->id = ++last_id_;
    transfer->socket = UniqueFd(checked("duplicate a socket", [&] { return ::fcntl(socket, F_DUPFD_CLOEXEC, 0); }));
    transfer->file = file;
    transfer->offset = start;
    transfer->left = length;
    Sender& sender = Idlest();
    if (running_.empty()) finished_.Ref(env);
    running_.emplace(transfer->id, std::make_pair(transfer, &sender));
    sender.Start(transfer);
    return transfer->id;
  }
  std::int64_t SentBytes(std::uint32_t id) const {
    const auto found = running_.find(id);
    return found == running_.end() ? 0 : found->second.first->sent.load();
  }
  void Cancel(std::uint32_t id) {
    if (const auto found = running_.find(id); found != running_.end()) found->second.second->Cancel(id);
  }
  void Forget(Napi::Env env, std::uint32_t id) {
    running_.erase(id);
    if (running_.empty()) finished_.Unref(env);
  }
  /// When the environment ends: no thread may call into it any more.
  void Stop() { senders_.clear(); }

 private:
  Sender& Idlest() {
    const auto least = std::min_element(senders_.begin(), senders_.end(),
                                        [](const auto& one, const auto& other) { return one->load() < other->load(); });
    if (least != senders_.end() && ((*least)->load() == 0 || senders_.size() == kMostThreads)) return **least;
    senders_.push_back(std::make_unique<Sender>([this](const Finished& finished) {
      finished_.NonBlockingCall(new Finished(finished), [this](Napi::Env env, Napi::Function callback, Finished* data) {
        const std::unique_ptr<Finished> owned(data);
        Forget(env, data->id);
        callback.Call({Napi::Number::New(env, data->id), Napi::Number::New(env, data->error),
                       Napi::Number::New(env, static_cast<double>(data->sent))});
      });
    }));
    return *senders_.back();
  }

  Napi::ThreadSafeFunction finished_;
  std::vector<std::unique_ptr<Sender>> senders_;
  std::unordered_map<std::uint32_t, std::pair<std::shared_ptr<Transfer>, Sender*>> running_;
  std::uint32_t last_id_ = 0;
};

FileSender& SenderOf(const Napi::CallbackInfo& info) { return *static_cast<FileSender*>(info.Data()); }

/// openFileSender(callback, into).
void OpenFileSender(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* sender = new FileSender(env, info[0].As<Napi::Function>());
  // Registered after the function's own hook, and so called before it.
  env.AddCleanupHook([sender] {
    sender->Stop();
    delete sender;
  });
  auto exports = info[1].As<Napi::Object>();
  exports.Set("startSending", Napi::Function::New(
                                  env,
                                  [](const Napi::CallbackInfo& call) -> Napi::Value {
                                    try {
                                      return Napi::Number::New(
                                          call.Env(), SenderOf(call).Start(call.Env(), call[0].As<Napi::Number>(),
                                                                           call[1].As<Napi::Number>(),
                                                                           call[2].As<Napi::Number>().Int64Value(),
                                                                           call[3].As<Napi::Number>().Int64Value()));
                                    } catch (const SysError& error) {
                                      throw ToJs(call.Env(), error);
                                    }
                                  },
                                  "startSending", sender));
  exports.Set("sentBytes", Napi::Function::New(
                               env,
                               [](const Napi::CallbackInfo& call) -> Napi::Value {
                                 const auto sent = SenderOf(call).SentBytes(call[0].As<Napi::Number>());
                                 return Napi::Number::New(call.Env(), static_cast<double>(sent));
                               },
                               "sentBytes", sender));
  exports.Set("cancelSending",
              Napi::Function::New(
                  env, [](const Napi::CallbackInfo& call) { SenderOf(call).Cancel(call[0].As<Napi::Number>()); },
                  "cancelSending", sender));
}

}  // namespace
}  // namespace gantry

void InitFileSender(Napi::Env env, Napi::Object exports) {
  exports.Set("openFileSender", Napi::Function::New(env, gantry::OpenFileSender, "openFileSender"));
}
