// Copies trees from one root to another while somebody hostile works in either: the kernel resolves the paths inside of
// the roots, and below them every step is one name, through a descriptor, and never follows a link.
#include "addon/tree_copy.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include <array>
#include <climits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "core/own_ids.h"
#include "core/sys.h"
#include "layer/layer_files.h"

namespace gantry {
namespace {

constexpr int kDeepest = 512;
constexpr mode_t kModes = 07777;
constexpr std::size_t kMostAtOnce = 1U << 30;
constexpr std::size_t kLargestAttribute = 65536;
constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

struct Place {
  std::string root;
  std::string path;
};

struct CopyOrder {
  Place from;
  Place to;
  bool contents = false;  // of the folder `from`, into the folder `to`, which is there
  bool top_attributes = false;
  bool follow = false;  // what `from` points to, if it is a link
  bool layer = false;   // `from` is in overlayfs's form: what it hides goes
  std::optional<std::pair<uid_t, gid_t>> owner;
};

UniqueFd OpenRoot(const std::string& path) {
  return UniqueFd(checked("open the root", [&] { return ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
}

int OpenIn(int root, const std::string& path, std::uint64_t flags) {
  struct open_how how = {};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const int opened =
        static_cast<int>(::syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how));
    if (opened >= 0 || (errno != EINTR && errno != EAGAIN)) return opened;  // EAGAIN: something was renamed meanwhile
  }
}

UniqueFd Opened(int fd, const std::string& doing) {
  if (fd < 0) throw SysError(errno, doing);
  return UniqueFd(fd);
}

struct stat StatusOf(int fd, const std::string& name) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0) throw SysError(errno, "look at " + name);
  return status;
}

std::string ByDescriptor(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

class TreeCopy {
 public:
  explicit TreeCopy(const CopyOrder& order) : order_(order) {}

  void Run() {
    const UniqueFd from_root = OpenRoot(order_.from.root);
    const UniqueFd to_root = OpenRoot(order_.to.root);
    if (order_.contents) {
      const UniqueFd source =
          Opened(OpenIn(from_root.get(), order_.from.path, O_RDONLY | O_DIRECTORY), "open " + order_.from.path);
      const UniqueFd made =
          Opened(OpenIn(to_root.get(), order_.to.path, O_RDONLY | O_DIRECTORY), "open " + order_.to.path);
      Guard(made.get());
      CopyChildren(source.get(), made.get(), order_.from.path, 0);
      if (order_.top_attributes) TakeOver(source.get(), made.get(), StatusOf(source.get(), order_.from.path));
      return;
    }
    const auto [parent_path, name] = Split(order_.to.path);
    const UniqueFd parent = Opened(OpenIn(to_root.get(), parent_path, O_RDONLY | O_DIRECTORY), "open " + parent_path);
    const UniqueFd source = Opened(OpenIn(from_root.get(), order_.from.path, O_PATH | (order_.follow ? 0 : O_NOFOLLOW)),
                                   "open " + order_.from.path);
    CopyEntry(source.get(), parent.get(), name, order_.from.path, 0);
  }

 private:
  /// A folder is never copied into itself, however it was reached.
  void Guard(int made) {
    const struct stat status = StatusOf(made, order_.to.path);
    if (!guarded_) guarded_ = {status.st_dev, status.st_ino};
  }

  static std::pair<std::string, std::string> Split(std::string path) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    const auto slash = path.rfind('/');
    std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    if (name.empty() || name == "." || name == "..") throw SysError(EINVAL, "copy to " + path);
    return {slash == std::string::npos ? "." : path.substr(0, slash + 1), std::move(name)};
  }

  /// `source` is opened as a path, so that nothing happens to a device or a fifo.
  void CopyEntry(int source, int to, const std::string& name, const std::string& path, int depth) {
    const struct stat status = StatusOf(source, path);
    if (S_ISDIR(status.st_mode)) return CopyFolder(source, to, name, path, status, depth);
    MakeRoom(to, name);
    if (order_.layer && S_ISCHR(status.st_mode) && status.st_rdev == 0) return;
    if (status.st_nlink > 1 && LinkAgain(status, to, name)) return;
    switch (status.st_mode & S_IFMT) {
      case S_IFREG:
        return CopyFile(source, to, name, path, status);
      case S_IFLNK:
        return CopyLink(source, to, name, path, status);
      case S_IFSOCK:
        return;  // nothing without its process
      default:
        if (::mknodat(to, name.c_str(), status.st_mode & (S_IFMT | kModes), status.st_rdev) != 0) {
          throw SysError(errno, "make the node " + path);
        }
        Own(to, name, status, AT_SYMLINK_NOFOLLOW);
    }
  }

  void CopyFolder(int source, int to, const std::string& name, const std::string& path, const struct stat& status,
                  int depth) {
    if (depth > kDeepest) throw SysError(ELOOP, "copy " + path + ", which is nested too deeply");
    const UniqueFd from =
        Opened(::open(ByDescriptor(source).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open " + path);
    if (guarded_ && guarded_->first == status.st_dev && guarded_->second == status.st_ino) {
      throw SysError(EINVAL, "copy " + path + " into itself");
    }
    if (order_.layer && HidesFolder(from.get(), to, name)) RemoveTree(to, name, "replace " + path);
    if (::mkdirat(to, name.c_str(), 0700) != 0 && errno != EEXIST) throw SysError(errno, "make the folder for " + path);
    const UniqueFd made = Opened(::openat(to, name.c_str(), kFolder), "open the folder made for " + path);
    Guard(made.get());
    CopyChildren(from.get(), made.get(), path, depth + 1);
    TakeOver(from.get(), made.get(), status);
  }

  void CopyChildren(int from, int to, const std::string& path, int depth) {
    for (const std::string& name : Names(from, path)) {
      const std::string child_path = path + "/" + name;
      const int child = ::openat(from, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
      if (child < 0 && errno == ENOENT) continue;  // removed while we were on the way to it
      const UniqueFd source = Opened(child, "open " + child_path);
      CopyEntry(source.get(), to, name, child_path, depth);
    }
  }

  static std::vector<std::string> Names(int folder, const std::string& path) {
    struct Close {
      void operator()(DIR* open) const { ::closedir(open); }
    };
    UniqueFd own = Opened(::openat(folder, ".", kFolder), "read " + path);
    const std::unique_ptr<DIR, Close> open(::fdopendir(own.get()));
    if (!open) throw SysError(errno, "read " + path);
    own.release();
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(open.get())) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    if (errno != 0) throw SysError(errno, "read " + path);
    return names;
  }

  /// What is there is replaced, unless it is a folder; by a layer, in any case.
  void MakeRoom(int to, const std::string& name) const {
    if (::unlinkat(to, name.c_str(), 0) == 0 || errno == ENOENT) return;
    const std::string doing = "replace " + name + " by something that is no folder";
    if (!order_.layer || errno != EISDIR) throw SysError(errno, doing);
    RemoveTree(to, name, doing);
  }

  /// Whether what is there is to go before the folder is made: it is no folder, or the layer's is opaque.
  static bool HidesFolder(int source, int to, const std::string& name) {
    struct stat there = {};
    if (::fstatat(to, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) return false;
    char opaque = 0;
    return !S_ISDIR(there.st_mode) || (::fgetxattr(source, OpaqueAttribute(), &opaque, 1) == 1 && opaque == 'y');
  }

  /// Several names of one file stay names of one file.
  bool LinkAgain(const struct stat& status, int to, const std::string& name) {
    if (!S_ISREG(status.st_mode)) return false;
    const auto first = linked_.find({status.st_dev, status.st_ino});
    return first != linked_.end() &&
           ::linkat(AT_FDCWD, ByDescriptor(first->second.get()).c_str(), to, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
  }

  void CopyFile(int source, int to, const std::string& name, const std::string& path, const struct stat& status) {
    const UniqueFd from = Opened(::open(ByDescriptor(source).c_str(), O_RDONLY | O_CLOEXEC), "open " + path);
    UniqueFd made = Opened(::openat(to, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600),
                           "make the copy of " + path);
    ssize_t sent = 0;
    do {
      sent = ::sendfile(made.get(), from.get(), nullptr, kMostAtOnce);
    } while (sent > 0 || (sent < 0 && errno == EINTR));
    if (sent < 0) throw SysError(errno, "copy " + path);
    TakeOver(from.get(), made.get(), status);
    if (status.st_nlink > 1 && linked_.size() < 10000) {
      linked_.emplace(std::pair{status.st_dev, status.st_ino},
                      Opened(::openat(to, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC), "open the copy of " + path));
    }
  }

  void CopyLink(int source, int to, const std::string& name, const std::string& path, const struct stat& status) {
    std::array<char, PATH_MAX> target{};
    const ssize_t length = ::readlinkat(source, "", target.data(), target.size() - 1);
    if (length < 0) throw SysError(errno, "read the link " + path);
    if (::symlinkat(target.data(), to, name.c_str()) != 0) throw SysError(errno, "make the copy of " + path);
    Own(to, name, status, AT_SYMLINK_NOFOLLOW);
    const std::array<timespec, 2> times{status.st_atim, status.st_mtim};
    ::utimensat(to, name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW);
  }

  void Own(int to, const std::string& name, const struct stat& status, int flags) const {
    const auto [uid, gid] = order_.owner.value_or(std::pair{status.st_uid, status.st_gid});
    const OwnIds& own = OwnIds::Get();
    if (::fchownat(to, name.c_str(), own.UserFor(uid), own.GroupFor(gid), flags) != 0) {
      throw SysError(errno, "give " + name + " its owner");
    }
  }

  /// The owner first: a change of it takes the set-user-ID bit and file capabilities away. The times last.
  void TakeOver(int from, int made, const struct stat& status) const {
    const auto [uid, gid] = order_.owner.value_or(std::pair{status.st_uid, status.st_gid});
    const OwnIds& own = OwnIds::Get();
    checked("give a copy its owner",
            [&, owner = own.UserFor(uid), group = own.GroupFor(gid)] { return ::fchown(made, owner, group); });
    CopyAttributes(from, made);
    checked("give a copy its mode", [&] { return ::fchmod(made, status.st_mode & kModes); });
    const std::array<timespec, 2> times{status.st_atim, status.st_mtim};
    checked("give a copy its times", [&] { return ::futimens(made, times.data()); });
  }

  /// As far as the filesystem takes them.
  static void CopyAttributes(int from, int made) {
    std::vector<char> names(kLargestAttribute);
    const ssize_t length = ::flistxattr(from, names.data(), names.size());
    if (length <= 0) return;
    std::vector<char> value(kLargestAttribute);
    for (const char* name = names.data(); name < names.data() + length;
         name += std::char_traits<char>::length(name) + 1) {
      if (std::string_view(name) == OpaqueAttribute()) continue;
      const ssize_t size = ::fgetxattr(from, name, value.data(), value.size());
      if (size < 0) continue;
      if (::fsetxattr(made, name, value.data(), static_cast<std::size_t>(size), 0) != 0 && errno == ENOSPC) {
        throw SysError(errno, "give a copy its attributes");
      }
    }
  }

  const CopyOrder& order_;
  std::optional<std::pair<dev_t, ino_t>> guarded_;
  std::map<std::pair<dev_t, ino_t>, UniqueFd> linked_;
};

class CopyWorker : public Napi::AsyncWorker {
 public:
  CopyWorker(Napi::Env env, CopyOrder order)
      : Napi::AsyncWorker(env), promise_(Napi::Promise::Deferred::New(env)), order_(std::move(order)) {}
  Napi::Promise promise() const { return promise_.Promise(); }

 protected:
  void Execute() override {
    try {
      TreeCopy(order_).Run();
    } catch (const SysError& error) {
      failure_ = std::make_unique<SysError>(error);
    }
  }
  void OnOK() override {
    if (failure_) {
      promise_.Reject(ToJs(Env(), *failure_).Value());
    } else {
      promise_.Resolve(Env().Undefined());
    }
  }
  void OnError(const Napi::Error& error) override { promise_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred promise_;
  CopyOrder order_;
  std::unique_ptr<SysError> failure_;
};

/// copyTree(fromRoot, fromPath, toRoot, toPath, contents, topAttributes, uid, gid, follow, layer): a promise; uid -1
/// keeps owners.
Napi::Value CopyTree(const Napi::CallbackInfo& info) {
  const auto text = [&](std::size_t i) { return info[i].As<Napi::String>().Utf8Value(); };
  CopyOrder order{{text(0), text(1)}, {text(2), text(3)}, {}, {}, {}, {}, {}};
  order.contents = info[4].As<Napi::Boolean>();
  order.top_attributes = info[5].As<Napi::Boolean>();
  if (info[6].As<Napi::Number>().Int64Value() >= 0) {
    order.owner = {info[6].As<Napi::Number>().Uint32Value(), info[7].As<Napi::Number>().Uint32Value()};
  }
  order.follow = info[8].As<Napi::Boolean>();
  order.layer = info[9].As<Napi::Boolean>();
  auto* worker = new CopyWorker(info.Env(), std::move(order));
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

/// lookInRoot(root, path, follow): [mode, size, mtimeMs, target of a link]; undefined if there is nothing.
Napi::Value LookInRoot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = info[1].As<Napi::String>().Utf8Value();
  const bool follow = info[2].As<Napi::Boolean>();
  try {
    const UniqueFd root = OpenRoot(info[0].As<Napi::String>().Utf8Value());
    const int opened = OpenIn(root.get(), path, O_PATH | (follow ? 0 : O_NOFOLLOW));
    if (opened < 0 && (errno == ENOENT || errno == ENOTDIR)) return env.Undefined();
    const UniqueFd found = Opened(opened, "look at " + path);
    const struct stat status = StatusOf(found.get(), path);
    std::array<char, PATH_MAX> target{};
    if (S_ISLNK(status.st_mode) && ::readlinkat(found.get(), "", target.data(), target.size() - 1) < 0) {
      throw SysError(errno, "read the link " + path);
    }
    const Napi::Array result = Napi::Array::New(env, 4);
    result.Set(0U, Napi::Number::New(env, status.st_mode));
    result.Set(1U, Napi::Number::New(env, static_cast<double>(status.st_size)));
    result.Set(2U, Napi::Number::New(env, static_cast<double>(status.st_mtim.tv_sec) * 1e3));
    result.Set(3U, Napi::String::New(env, target.data()));
    return result;
  } catch (const SysError& error) {
    throw ToJs(env, error);
  }
}

}  // namespace
}  // namespace gantry

void InitTreeCopy(Napi::Env env, Napi::Object exports) {
  exports.Set("copyTree", Napi::Function::New(env, gantry::CopyTree, "copyTree"));
  exports.Set("lookInRoot", Napi::Function::New(env, gantry::LookInRoot, "lookInRoot"));
}
