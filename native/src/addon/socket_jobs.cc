#include "addon/socket_jobs.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <string_view>
#include <thread>

namespace gantry {
namespace {

constexpr std::size_t kEventsAtOnce = 64;

}  // namespace

void Unpaced(int socket) {
  struct sockaddr_storage peer = {};
  socklen_t length = sizeof peer;
  if (::getpeername(socket, reinterpret_cast<struct sockaddr*>(&peer), &length) != 0) return;
  const auto* v4 = reinterpret_cast<const struct sockaddr_in*>(&peer);
  const auto* v6 = reinterpret_cast<const struct sockaddr_in6*>(&peer);
  const bool here = peer.ss_family == AF_INET
                        ? (::ntohl(v4->sin_addr.s_addr) >> 24) == IN_LOOPBACKNET
                        : peer.ss_family == AF_INET6 &&
                              (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
                               (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET));
  constexpr std::string_view kName = "reno";  // which everybody may choose, and every kernel has
  if (here) ::setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, kName.data(), kName.size());
}

SocketJob::SocketJob(int socket, std::uint32_t events)
    : socket_(checked("duplicate a socket", [&] { return ::fcntl(socket, F_DUPFD_CLOEXEC, 0); })), events_(events) {}

/// One thread with the jobs that were given to it.
class SocketThread {
 public:
  using Report = std::function<void(std::uint32_t id, bool over, Telling)>;

  explicit SocketThread(Report report)
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
    thread_ = std::thread([this] { Loop(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~SocketThread() {
    Tell([this] { stopping_ = true; });
    thread_.join();
  }
  SocketThread(const SocketThread&) = delete;
  SocketThread& operator=(const SocketThread&) = delete;

  void Start(std::shared_ptr<SocketJob> job) {
    load_ += 1;
    Tell([&] { started_.push_back(std::move(job)); });
  }
  void Cancel(std::uint32_t id) {
    Tell([&] { cancelled_.push_back(id); });
  }
  void Resume(std::uint32_t id) {
    Tell([&] { resumed_.push_back(id); });
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

  void Loop() {
    std::array<struct epoll_event, kEventsAtOnce> events;
    for (;;) {
      const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
      bool told = false;
      SocketJob* waiting = nullptr;  // for a second one
      for (int i = 0; i < count; ++i) {
        auto* job = static_cast<SocketJob*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (job == nullptr) {
          told = true;
        } else if (waiting == nullptr) {
          waiting = job;
        } else {
          RunBoth(*std::exchange(waiting, nullptr), *job);
        }
      }
      if (waiting != nullptr) Run(*waiting);
      // After the events, which may be of jobs that are cancelled here.
      if (told && !Listen()) return;
    }
  }

  /// False when it is time to stop.
  bool Listen() {
    std::uint64_t ignored;
    [[maybe_unused]] const auto drained = ::read(wake_.get(), &ignored, sizeof ignored);
    std::vector<std::shared_ptr<SocketJob>> started;
    std::vector<std::uint32_t> cancelled, resumed;
    {
      const std::lock_guard<std::mutex> held(mutex_);
      if (stopping_) return false;
      started.swap(started_);
      cancelled.swap(cancelled_);
      resumed.swap(resumed_);
    }
    for (auto& job : started) {
      SocketJob& kept = *job;
      running_.emplace(kept.id, std::move(job));
      Run(kept);
    }
    for (const auto id : resumed) {
      const auto found = running_.find(id);
      if (found == running_.end()) continue;
      SocketJob& job = *found->second;
      job.Resumed();
      Hear(job);
      Wait(job);
    }
    for (const auto id : cancelled) {
      if (const auto found = running_.find(id); found != running_.end()) Finish(*found->second, ECANCELED);
    }
    return true;
  }

  void Run(SocketJob& job) { After(job, job.Run()); }

  void RunBoth(SocketJob& one, SocketJob& other) {
    const auto [turn, other_turn] = one.RunBoth(other);
    After(one, turn);
    After(other, other_turn);
  }

  void After(SocketJob& job, SocketJob::Turn turn) {
    Hear(job);
    // Not merely without events: epoll would tell of a client that hung up again and again.
    if (turn == SocketJob::Turn::kPaused) Forget(job);
    if (turn == SocketJob::Turn::kAgain) Wait(job);
    if (turn == SocketJob::Turn::kOver) Finish(job, job.error);
  }

  void Hear(SocketJob& job) {
    if (Telling news = job.News()) report_(job.id, false, std::move(news));
  }

  void Wait(SocketJob& job) {
    const auto [socket, events] = job.Awaits();
    if (job.watched_ == socket) return;
    Forget(job);
    struct epoll_event event = {};
    event.events = events;
    event.data.ptr = &job;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket, &event) == 0) {
      job.watched_ = socket;
    } else {
      Finish(job, errno);
    }
  }

  void Forget(SocketJob& job) {
    if (job.watched_ >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, job.watched_, nullptr);
    job.watched_ = -1;
  }

  void Finish(SocketJob& job, int error) {
    Forget(job);
    job.error = error;
    const auto id = job.id;
    Telling end = job.End();
    running_.erase(id);  // ends `job`, unless JavaScript has it still
    load_ -= 1;
    report_(id, true, std::move(end));
  }

  const Report report_;
  const UniqueFd epoll_;
  const UniqueFd wake_;
  std::atomic<std::size_t> load_ = 0;
  std::unordered_map<std::uint32_t, std::shared_ptr<SocketJob>> running_;  // the thread's own
  std::mutex mutex_;                                                       // guards what follows
  std::vector<std::shared_ptr<SocketJob>> started_;
  std::vector<std::uint32_t> cancelled_, resumed_;
  bool stopping_ = false;
  std::thread thread_;
};

SocketJobs::SocketJobs(Napi::Env env, const Napi::Function& callback, const char* name, std::size_t most_threads)
    : most_threads_(most_threads), told_(Napi::ThreadSafeFunction::New(env, callback, name, 0, 1)) {
  told_.Unref(env);
}
SocketJobs::~SocketJobs() = default;

std::uint32_t SocketJobs::Start(Napi::Env env, std::shared_ptr<SocketJob> job) {
  job->id = ++last_id_;
  SocketThread& thread = Idlest();
  if (running_.empty()) told_.Ref(env);
  running_.emplace(job->id, std::make_pair(job, &thread));
  thread.Start(job);
  return job->id;
}

const SocketJob* SocketJobs::Find(std::uint32_t id) const {
  const auto found = running_.find(id);
  return found == running_.end() ? nullptr : found->second.first.get();
}

std::int64_t SocketJobs::MovedBytes(std::uint32_t id) const {
  const SocketJob* job = Find(id);
  return job == nullptr ? 0 : job->moved_bytes();
}

void SocketJobs::Cancel(std::uint32_t id) {
  if (const auto found = running_.find(id); found != running_.end()) found->second.second->Cancel(id);
}

void SocketJobs::Resume(std::uint32_t id) {
  if (const auto found = running_.find(id); found != running_.end()) found->second.second->Resume(id);
}

void SocketJobs::Stop() { threads_.clear(); }

SocketThread& SocketJobs::Idlest() {
  const auto least = std::min_element(threads_.begin(), threads_.end(),
                                      [](const auto& one, const auto& other) { return one->load() < other->load(); });
  if (least != threads_.end() && ((*least)->load() == 0 || threads_.size() == most_threads_)) return **least;
  struct Told {
    std::uint32_t id;
    bool over;
    Telling tell;
  };
  threads_.push_back(std::make_unique<SocketThread>([this](std::uint32_t id, bool over, Telling tell) {
    auto* told = new Told{id, over, std::move(tell)};
    told_.NonBlockingCall(told, [this](Napi::Env env, Napi::Function callback, Told* data) {
      const std::unique_ptr<Told> owned(data);
      if (data->over) {
        running_.erase(data->id);
        if (running_.empty()) told_.Unref(env);
      }
      data->tell(env, callback);
    });
  }));
  return *threads_.back();
}

SocketJobs& OpenSocketJobs(Napi::Env env, const Napi::Function& callback, const char* name, std::size_t most_threads,
                           Napi::Object into) {
  auto* jobs = new SocketJobs(env, callback, name, most_threads);
  // Registered after the function's own hook, and so called before it.
  env.AddCleanupHook([jobs] {
    jobs->Stop();
    delete jobs;
  });
  const auto jobsOf = [](const Napi::CallbackInfo& info) -> SocketJobs& {
    return *static_cast<SocketJobs*>(info.Data());
  };
  into.Set("movedBytes", Napi::Function::New(
                             env,
                             [jobsOf](const Napi::CallbackInfo& info) -> Napi::Value {
                               const auto moved = jobsOf(info).MovedBytes(info[0].As<Napi::Number>());
                               return Napi::Number::New(info.Env(), static_cast<double>(moved));
                             },
                             "movedBytes", jobs));
  into.Set("cancel",
           Napi::Function::New(
               env, [jobsOf](const Napi::CallbackInfo& info) { jobsOf(info).Cancel(info[0].As<Napi::Number>()); },
               "cancel", jobs));
  into.Set("resume",
           Napi::Function::New(
               env, [jobsOf](const Napi::CallbackInfo& info) { jobsOf(info).Resume(info[0].As<Napi::Number>()); },
               "resume", jobs));
  return *jobs;
}

}  // namespace gantry
