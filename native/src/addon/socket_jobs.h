// Work on sockets that do not block, driven by epoll in a few threads: a slow client costs an entry in a table, not a
// thread, and a slow disk holds up one of these threads, not the event loop or libuv's pool.
#pragma once

#include <napi.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/sys.h"

namespace gantry {

/// For sending much: a peer on this machine needs no pace. A host whose algorithm paces (BBR) sets a timer for every 64
/// KB, which costs as much as sending them.
void Unpaced(int socket);

/// What JavaScript is told of a job; called by its thread.
using Telling = std::function<void(Napi::Env, const Napi::Function&)>;

/// What a job cannot go on without.
struct Awaited {
  int socket;
  std::uint32_t events;
};

class SocketJob {
 public:
  enum class Turn { kAgain, kPaused, kOver };

  /// `socket` is duplicated, because JavaScript may close its one at any time. `events` is what to wait for. Throws
  /// SysError.
  SocketJob(int socket, std::uint32_t events);
  virtual ~SocketJob() = default;
  SocketJob(const SocketJob&) = delete;
  SocketJob& operator=(const SocketJob&) = delete;

  /// In a thread, after a Run that shall be called again. One socket at a time.
  virtual Awaited Awaits() const { return {socket(), events_}; }
  /// In a thread: as much as others may wait for. Paused, it is not called again before SocketJobs::Resume.
  virtual Turn Run() = 0;
  /// The same for this one and another of its kind, where both at once take less time.
  virtual std::array<Turn, 2> RunBoth(SocketJob& other) { return {Run(), other.Run()}; }
  /// In a thread, after Run: what is to be told before the end, if anything.
  virtual Telling News() { return {}; }
  /// In a thread, once, when nothing more will be done: `error` is 0, what Run set, or ECANCELED.
  virtual Telling End() = 0;
  /// In a thread: JavaScript wants it to go on.
  virtual void Resumed() {}
  std::int64_t moved_bytes() const { return moved_bytes_; }

  std::uint32_t id = 0;
  int error = 0;

 protected:
  int socket() const { return socket_.get(); }
  std::atomic<std::int64_t> moved_bytes_ = 0;

 private:
  friend class SocketThread;
  const UniqueFd socket_;
  const std::uint32_t events_;
  int watched_ = -1;  // the one that epoll knows of
};

class SocketThread;

/// What the addon keeps of one kind of job for one JavaScript environment; used by its thread only.
class SocketJobs {
 public:
  SocketJobs(Napi::Env env, const Napi::Function& callback, const char* name, std::size_t most_threads);
  ~SocketJobs();

  std::uint32_t Start(Napi::Env env, std::shared_ptr<SocketJob> job);
  std::int64_t MovedBytes(std::uint32_t id) const;
  /// It ends with ECANCELED unless it was quicker.
  void Cancel(std::uint32_t id);
  void Resume(std::uint32_t id);
  /// `nullptr` when it is over, and JavaScript was told.
  const SocketJob* Find(std::uint32_t id) const;
  /// When the environment ends: no thread may call into it any more.
  void Stop();

 private:
  SocketThread& Idlest();

  const std::size_t most_threads_;
  Napi::ThreadSafeFunction told_;
  std::vector<std::unique_ptr<SocketThread>> threads_;
  std::unordered_map<std::uint32_t, std::pair<std::shared_ptr<SocketJob>, SocketThread*>> running_;
  std::uint32_t last_id_ = 0;
};

/// For jobs that wait for a disk as much as they work.
inline constexpr std::size_t kMostSocketThreads = 4;

/// Sets `movedBytes(id)`, `cancel(id)` and `resume(id)`; ends with the environment. Owned by the environment.
SocketJobs& OpenSocketJobs(Napi::Env env, const Napi::Function& callback, const char* name, std::size_t most_threads,
                           Napi::Object into);

}  // namespace gantry
