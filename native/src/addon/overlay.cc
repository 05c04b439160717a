// Overlay mounts for the client: any number of layers, since each is named by a short /proc/self/fd path, whatever the
// store's path is.
#include "addon/overlay.h"

#include <fcntl.h>
#include <napi.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "core/defence.h"
#include "core/own_ids.h"
#include "core/sys.h"
#include "layer/stage_thread.h"

namespace gantry {
namespace {

constexpr unsigned kMountAttributes = Has(Defence::kNoDevices) ? MOUNT_ATTR_NODEV : 0;
constexpr unsigned long kMountFlags = Has(Defence::kNoDevices) ? MS_NODEV : 0;

UniqueFd OpenFolder(const std::string& path) {
  const std::string step = "open " + path;
  return UniqueFd(
      checked(step.c_str(), [&] { return ::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
}

std::string ShortName(const UniqueFd& folder) { return "/proc/self/fd/" + std::to_string(folder.get()); }

/// False where the kernel does not know what it is told: EINVAL. Throws SysError for everything else.
bool Tell(int context, unsigned command, const char* key, const char* value, const char* step) {
  if (::fsconfig(context, command, key, value, 0) == 0) return true;
  if (errno == EINVAL) return false;
  throw SysError(errno, step);
}

/// False where the kernel does not know `lowerdir+` (before 6.5), and nothing was mounted. Such a kernel collects
/// options unread, as many as fit into a page, and refuses them all together.
bool MountByDescriptors(const std::vector<UniqueFd>& lower, const UniqueFd& upper, const UniqueFd& work, bool lasting,
                        const UniqueFd& target) {
  const UniqueFd context(checked("open the overlay filesystem", [] { return ::fsopen("overlay", FSOPEN_CLOEXEC); }));
  const auto set = [&](const char* key, const std::string& value) {
    return Tell(context.get(), FSCONFIG_SET_STRING, key, value.c_str(), "set an option of the overlay");
  };
  if (!set("source", "overlay")) return false;
  for (const UniqueFd& folder : lower) {
    if (!set("lowerdir+", ShortName(folder))) return false;
  }
  if (!set("upperdir", ShortName(upper)) || !set("workdir", ShortName(work))) return false;
  const auto turn_on = [&](const char* key) {
    return Tell(context.get(), FSCONFIG_SET_FLAG, key, nullptr, "set an option of the overlay");
  };
  if (!OwnIds::Get().IsHost() && !turn_on("userxattr")) return false;
  if (!lasting && !turn_on("volatile")) return false;
  if (!Tell(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, "create the overlay")) return false;
  const UniqueFd mount(
      checked("mount the overlay", [&] { return ::fsmount(context.get(), FSMOUNT_CLOEXEC, kMountAttributes); }));
  checked("attach the overlay", [&] {
    return ::move_mount(mount.get(), "", target.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
  });
  return true;
}

void MountByOptions(const std::vector<UniqueFd>& lower, const UniqueFd& upper, const UniqueFd& work, bool lasting,
                    const UniqueFd& target) {
  std::string layers;
  for (const UniqueFd& folder : lower) layers += (layers.empty() ? "" : ":") + ShortName(folder);
  const std::string options = "lowerdir=" + layers + ",upperdir=" + ShortName(upper) + ",workdir=" + ShortName(work) +
                              (OwnIds::Get().IsHost() ? "" : ",userxattr") + (lasting ? "" : ",volatile");
  checked("mount the overlay",
          [&] { return ::mount("overlay", ShortName(target).c_str(), "overlay", kMountFlags, options.c_str()); });
}

std::string Text(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }

/// mountOverlay(lower: string[], upper, work, target, lasting): the uppermost layer comes first.
Napi::Value MountOverlay(const Napi::CallbackInfo& info) {
  try {
    const auto names = info[0].As<Napi::Array>();
    std::vector<UniqueFd> lower;
    for (std::uint32_t i = 0; i < names.Length(); ++i) lower.push_back(OpenFolder(Text(names.Get(i))));
    const UniqueFd upper = OpenFolder(Text(info[1]));
    const UniqueFd work = OpenFolder(Text(info[2]));
    const UniqueFd target = OpenFolder(Text(info[3]));
    const bool lasting = info[4].As<Napi::Boolean>();
    if (!MountByDescriptors(lower, upper, work, lasting, target)) MountByOptions(lower, upper, work, lasting, target);
    return info.Env().Undefined();
  } catch (const SysError& error) {
    throw ToJs(info.Env(), error);
  }
}

/// On a thread of its own: the kernel writes down all that the whole disk has to write before it lets an overlay go.
/// Many at once share that; one after the other each pays for it.
class Unmounting : public std::enable_shared_from_this<Unmounting> {
 public:
  Unmounting(Napi::Env env, std::string target)
      : answer_(Napi::Promise::Deferred::New(env)),
        tell_(Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                            "gantry unmount", 0, 1)),
        target_(std::move(target)) {}

  Napi::Promise Start(Napi::Env env) {
    ::napi_add_env_cleanup_hook(env, AtEnd, this);
    thread_ = StartThread([self = shared_from_this()] { self->Run(); });
    return answer_.Promise();
  }

 private:
  static void AtEnd(void* unmounting) { static_cast<Unmounting*>(unmounting)->thread_.join(); }

  void Run() {
    const int error = ::umount2(target_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ? 0 : errno;
    tell_.BlockingCall([self = shared_from_this(), error](Napi::Env env, Napi::Function) {
      self->thread_.join();
      ::napi_remove_env_cleanup_hook(env, AtEnd, self.get());
      self->Settle(env, error);
    });
    tell_.Release();
  }

  void Settle(Napi::Env env, int error) {
    if (error == 0 || error == EINVAL || error == ENOENT) return answer_.Resolve(Napi::Boolean::New(env, error == 0));
    answer_.Reject(ToJs(env, SysError(error, "unmount " + target_)).Value());
  }

  Napi::Promise::Deferred answer_;
  Napi::ThreadSafeFunction tell_;
  const std::string target_;
  std::thread thread_;
};

/// unmount(target): a promise; true if something was mounted there. Detaches at once; what still uses it keeps it
/// alive.
Napi::Value Unmount(const Napi::CallbackInfo& info) {
  return std::make_shared<Unmounting>(info.Env(), Text(info[0]))->Start(info.Env());
}

}  // namespace
}  // namespace gantry

void InitOverlay(Napi::Env env, Napi::Object exports) {
  exports.Set("mountOverlay", Napi::Function::New(env, gantry::MountOverlay, "mountOverlay"));
  exports.Set("unmount", Napi::Function::New(env, gantry::Unmount, "unmount"));
}
