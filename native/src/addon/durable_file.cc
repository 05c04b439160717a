// What a filesystem driver does for every small record: a file with its bytes, a name for it, the folders above. As
// one task of the pool, where each system call by itself would be one.
#include "addon/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <climits>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "core/sys.h"
#include "core/verified_mark.h"

namespace gantry {
namespace {

using Pieces = std::vector<struct iovec>;

/// Somebody may remove an empty folder between our making it and our using it, but not for ever.
constexpr int kTries = 5;

std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/')); }
std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void SyncFolder(const std::string& path) {
  const UniqueFd folder(
      checked("open a folder", [&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  checked("sync a folder", [&] { return ::fsync(folder.get()); });
}

/// With its parents; adds to `changed` the folders that got a new entry, the deepest last.
void MakeFolder(const std::string& path, std::vector<std::string>& changed) {
  if (::mkdir(path.c_str(), 0700) != 0) {
    if (errno == EEXIST) return;
    if (errno != ENOENT) throw SysError(errno, "make a folder");
    MakeFolder(FolderOf(path), changed);
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) throw SysError(errno, "make a folder");
  }
  changed.push_back(FolderOf(path));
}

/// Does something that gives `target` a name, making its folder if that is missing. If they are to last, the names are
/// on disk at the end, all at once: the first sync of several in a row writes what the others would.
template <typename Work>
void InFolder(const std::string& target, bool lasting, Work work) {
  std::vector<std::string> changed;
  for (int tries = 1;; ++tries) {
    try {
      work();
      break;
    } catch (const SysError& error) {
      if (error.code().value() != ENOENT || tries == kTries) throw;
      MakeFolder(FolderOf(target), changed);
    }
  }
  if (!lasting) return;
  changed.push_back(FolderOf(target));
  while (!changed.empty()) {
    SyncFolder(changed.back());
    changed.pop_back();
  }
}

void WriteAll(int file, Pieces pieces) {
  for (auto next = pieces.begin(); next != pieces.end();) {
    if (next->iov_len == 0) {
      ++next;
      continue;
    }
    const int count = static_cast<int>(std::min<std::ptrdiff_t>(pieces.end() - next, IOV_MAX));
    auto written = static_cast<std::size_t>(checked("write a file", [&] { return ::writev(file, &*next, count); }));
    for (; written > 0; ++next) {
      const std::size_t taken = std::min(written, next->iov_len);
      next->iov_base = static_cast<char*>(next->iov_base) + taken;
      next->iov_len -= taken;
      written -= taken;
      if (next->iov_len > 0) break;
    }
  }
}

/// A new file with these bytes, on disk if `synced`; its name is not. Nothing is left of it if that fails.
void WriteFile(const std::string& path, const Pieces& pieces, bool synced) {
  const UniqueFd file(
      checked("create a file", [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600); }));
  try {
    WriteAll(file.get(), pieces);
    const bool empty = std::all_of(pieces.begin(), pieces.end(), [](const auto& piece) { return piece.iov_len == 0; });
    if (synced && !empty) checked("sync a file", [&] { return ::fdatasync(file.get()); });
  } catch (...) {
    ::unlink(path.c_str());
    throw;
  }
}

/// Runs in the pool; keeps what JavaScript gave it until it is done.
class DiskWorker : public Napi::AsyncWorker {
 public:
  DiskWorker(Napi::Env env, std::function<void()> work, const Napi::Value& kept)
      : Napi::AsyncWorker(env), promise_(Napi::Promise::Deferred::New(env)), work_(std::move(work)) {
    if (kept.IsObject()) kept_ = Napi::Persistent(kept.As<Napi::Object>());
  }
  Napi::Promise promise() const { return promise_.Promise(); }

 protected:
  void Execute() override {
    try {
      work_();
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

 private:
  Napi::Promise::Deferred promise_;
  const std::function<void()> work_;
  Napi::ObjectReference kept_;
  std::unique_ptr<SysError> failure_;
};

Napi::Value InPool(const Napi::CallbackInfo& info, std::function<void()> work, const Napi::Value& kept) {
  auto* worker = new DiskWorker(info.Env(), std::move(work), kept);
  const Napi::Promise promise = worker->promise();
  worker->Queue();  // deletes itself when it is done
  return promise;
}

std::string PathOf(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }

Pieces PiecesOf(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  Pieces pieces;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    auto bytes = array.Get(i).As<Napi::Uint8Array>();
    pieces.push_back({bytes.Data(), bytes.ByteLength()});
  }
  return pieces;
}

/// writeNew(path, pieces, synced): EEXIST if there is such a file.
Napi::Value WriteNew(const Napi::CallbackInfo& info) {
  auto work = [path = PathOf(info[0]), pieces = PiecesOf(info[1]), synced = info[2].ToBoolean().Value()] {
    WriteFile(path, pieces, synced);
  };
  return InPool(info, std::move(work), info[1]);
}

/// createDurable(temporary, target, pieces): EEXIST if the target is there. The temporary file goes in any case.
Napi::Value CreateDurable(const Napi::CallbackInfo& info) {
  auto work = [temporary = PathOf(info[0]), target = PathOf(info[1]), pieces = PiecesOf(info[2])] {
    WriteFile(temporary, pieces, true);
    try {
      InFolder(target, true,
               [&] { checked("name a file", [&] { return ::link(temporary.c_str(), target.c_str()); }); });
    } catch (...) {
      ::unlink(temporary.c_str());
      throw;
    }
    ::unlink(temporary.c_str());
  };
  return InPool(info, std::move(work), info[2]);
}

/// createUnique(target, pieces, lasting): written in its place, where a crash may leave it torn: for names that nobody
/// knows yet.
Napi::Value CreateUnique(const Napi::CallbackInfo& info) {
  auto work = [target = PathOf(info[0]), pieces = PiecesOf(info[1]), lasting = info[2].ToBoolean().Value()] {
    InFolder(target, lasting, [&] { WriteFile(target, pieces, lasting); });
  };
  return InPool(info, std::move(work), info[1]);
}

/// publishDurable(from, to): a rename of what is on disk already and was hashed, which the file then remembers.
Napi::Value PublishDurable(const Napi::CallbackInfo& info) {
  auto work = [from = PathOf(info[0]), to = PathOf(info[1])] {
    {
      const UniqueFd file(checked("open a file", [&] { return ::open(from.c_str(), O_RDONLY | O_CLOEXEC); }));
      SetVerifiedMark(file.get(), NameOf(to));
    }
    InFolder(to, true, [&] { checked("rename a file", [&] { return ::rename(from.c_str(), to.c_str()); }); });
  };
  return InPool(info, std::move(work), info.Env().Undefined());
}

/// markVerified(descriptor, name): not synced; where it cannot be kept, nothing happens.
Napi::Value MarkVerified(const Napi::CallbackInfo& info) {
  auto work = [file = info[0].As<Napi::Number>().Int32Value(), name = PathOf(info[1])] { SetVerifiedMark(file, name); };
  return InPool(info, std::move(work), info.Env().Undefined());
}

/// replaceDurable(from, to, lasting): without `lasting`, what was there before may be back after a crash.
Napi::Value ReplaceDurable(const Napi::CallbackInfo& info) {
  auto work = [from = PathOf(info[0]), to = PathOf(info[1]), lasting = info[2].ToBoolean().Value()] {
    InFolder(to, lasting, [&] { checked("rename a file", [&] { return ::rename(from.c_str(), to.c_str()); }); });
  };
  return InPool(info, std::move(work), info.Env().Undefined());
}

}  // namespace
}  // namespace gantry

void InitDurableFile(Napi::Env env, Napi::Object exports) {
  exports.Set("writeNew", Napi::Function::New(env, gantry::WriteNew, "writeNew"));
  exports.Set("createDurable", Napi::Function::New(env, gantry::CreateDurable, "createDurable"));
  exports.Set("createUnique", Napi::Function::New(env, gantry::CreateUnique, "createUnique"));
  exports.Set("publishDurable", Napi::Function::New(env, gantry::PublishDurable, "publishDurable"));
  exports.Set("markVerified", Napi::Function::New(env, gantry::MarkVerified, "markVerified"));
  exports.Set("replaceDurable", Napi::Function::New(env, gantry::ReplaceDurable, "replaceDurable"));
}
