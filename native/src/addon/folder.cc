// Large folders are read and sorted in the thread pool; inotify(7) tells what any process changed in them since. The
// kernel queues a change before the call that made it returns, so that whoever was told of it finds it in the queue.
#include "addon/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "core/sys.h"

namespace gantry {
namespace {

constexpr std::uint32_t kWatched = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR | IN_DONT_FOLLOW;

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

/// Names in byte order, those of folders with a slash at the end. Throws ENOENT if there is no such folder.
std::vector<std::string> NamesIn(const std::string& path) {
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir(path.c_str()));
  if (!folder) throw SysError(errno, "read a folder");
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const struct dirent* entry = ::readdir(folder.get());
    if (entry == nullptr) break;
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    bool is_folder = entry->d_type == DT_DIR;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat status = {};
      is_folder =
          ::fstatat(::dirfd(folder.get()), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
    }
    if (is_folder) name += '/';
    names.push_back(std::move(name));
  }
  if (errno != 0) throw SysError(errno, "read a folder");
  std::sort(names.begin(), names.end());
  return names;
}

class ReadWorker : public Napi::AsyncWorker {
 public:
  ReadWorker(Napi::Env env, std::string path)
      : Napi::AsyncWorker(env), promise_(Napi::Promise::Deferred::New(env)), path_(std::move(path)) {}
  Napi::Promise promise() const { return promise_.Promise(); }

 protected:
  void Execute() override {
    try {
      names_ = NamesIn(path_);
    } catch (const SysError& error) {
      failure_ = std::make_unique<SysError>(error);
    }
  }
  void OnOK() override {
    if (failure_) {
      promise_.Reject(ToJs(Env(), *failure_).Value());
      return;
    }
    const Napi::Array names = Napi::Array::New(Env(), names_.size());
    for (std::uint32_t i = 0; i < names_.size(); ++i) {
      const Napi::HandleScope scope(Env());
      names.Set(i, Napi::String::New(Env(), names_[i]));
    }
    promise_.Resolve(names);
  }

 private:
  Napi::Promise::Deferred promise_;
  const std::string path_;
  std::vector<std::string> names_;
  std::unique_ptr<SysError> failure_;
};

Napi::Value ReadFolder(const Napi::CallbackInfo& info) {
  auto* worker = new ReadWorker(info.Env(), info[0].As<Napi::String>().Utf8Value());
  const Napi::Promise promise = worker->promise();
  worker->Queue();  // deletes itself when it is done
  return promise;
}

/// A descriptor, or undefined if the system has none left of this kind.
Napi::Value OpenWatch(const Napi::CallbackInfo& info) {
  const int watch = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (watch < 0) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), watch);
}

void CloseWatch(const Napi::CallbackInfo& info) { const UniqueFd closed(info[0].As<Napi::Number>().Int32Value()); }

/// An id, or undefined if the folder is not there or cannot be watched.
Napi::Value WatchFolder(const Napi::CallbackInfo& info) {
  const std::string path = info[1].As<Napi::String>().Utf8Value();
  const int id = ::inotify_add_watch(info[0].As<Napi::Number>().Int32Value(), path.c_str(), kWatched);
  if (id < 0) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), id);
}

void UnwatchFolder(const Napi::CallbackInfo& info) {
  ::inotify_rm_watch(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::Number>().Int32Value());
}

/// readChanges(watch): id, kind, name, one after the other, for each change; kind is 1 for a name that appeared, 0 for
/// one that went, -1 for a folder that is not watched any more. undefined if the kernel had no room for all of them.
Napi::Value ReadChanges(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int watch = info[0].As<Napi::Number>().Int32Value();
  const Napi::Array changes = Napi::Array::New(env);
  std::uint32_t count = 0;
  alignas(struct inotify_event) std::array<char, 64 * 1024> buffer;
  for (;;) {
    const ssize_t size = ::read(watch, buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return changes;
    for (ssize_t at = 0; at < size;) {
      const auto* event = reinterpret_cast<const struct inotify_event*>(buffer.data() + at);
      at += static_cast<ssize_t>(sizeof *event + event->len);
      if ((event->mask & IN_Q_OVERFLOW) != 0) return env.Undefined();
      const bool gone = (event->mask & (IN_IGNORED | IN_UNMOUNT)) != 0;
      const bool appeared = (event->mask & (IN_CREATE | IN_MOVED_TO)) != 0;
      std::string name = event->len > 0 ? event->name : "";
      if ((event->mask & IN_ISDIR) != 0) name += '/';
      changes.Set(count++, Napi::Number::New(env, event->wd));
      changes.Set(count++, Napi::Number::New(env, gone ? -1 : appeared ? 1 : 0));
      changes.Set(count++, Napi::String::New(env, name));
    }
  }
}

}  // namespace
}  // namespace gantry

void InitFolder(Napi::Env env, Napi::Object exports) {
  exports.Set("readFolder", Napi::Function::New(env, gantry::ReadFolder, "readFolder"));
  exports.Set("openWatch", Napi::Function::New(env, gantry::OpenWatch, "openWatch"));
  exports.Set("watchFolder", Napi::Function::New(env, gantry::WatchFolder, "watchFolder"));
  exports.Set("unwatchFolder", Napi::Function::New(env, gantry::UnwatchFolder, "unwatchFolder"));
  exports.Set("readChanges", Napi::Function::New(env, gantry::ReadChanges, "readChanges"));
  exports.Set("closeWatch", Napi::Function::New(env, gantry::CloseWatch, "closeWatch"));
}
