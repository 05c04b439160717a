// Overlay mounts for the client: any number of layers, since each is named by a short /proc/self/fd path, whatever the
// store's path is.
#include "addon/overlay.h"

#include <fcntl.h>
#include <napi.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <string>
#include <vector>

#include "addon/errors.h"
#include "core/defence.h"
#include "core/own_ids.h"
#include "core/sys.h"

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
bool MountByDescriptors(const std::vector<UniqueFd>& lower, const UniqueFd& upper, const UniqueFd& work,
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
  if (!OwnIds::Get().IsHost() &&
      !Tell(context.get(), FSCONFIG_SET_FLAG, "userxattr", nullptr, "set an option of the overlay")) {
    return false;
  }
  if (!Tell(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, "create the overlay")) return false;
  const UniqueFd mount(
      checked("mount the overlay", [&] { return ::fsmount(context.get(), FSMOUNT_CLOEXEC, kMountAttributes); }));
  checked("attach the overlay", [&] {
    return ::move_mount(mount.get(), "", target.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
  });
  return true;
}

void MountByOptions(const std::vector<UniqueFd>& lower, const UniqueFd& upper, const UniqueFd& work,
                    const UniqueFd& target) {
  std::string layers;
  for (const UniqueFd& folder : lower) layers += (layers.empty() ? "" : ":") + ShortName(folder);
  const std::string options = "lowerdir=" + layers + ",upperdir=" + ShortName(upper) + ",workdir=" + ShortName(work) +
                              (OwnIds::Get().IsHost() ? "" : ",userxattr");
  checked("mount the overlay",
          [&] { return ::mount("overlay", ShortName(target).c_str(), "overlay", kMountFlags, options.c_str()); });
}

std::string Text(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }

/// mountOverlay(lower: string[], upper, work, target): the uppermost layer comes first.
Napi::Value MountOverlay(const Napi::CallbackInfo& info) {
  try {
    const auto names = info[0].As<Napi::Array>();
    std::vector<UniqueFd> lower;
    for (std::uint32_t i = 0; i < names.Length(); ++i) lower.push_back(OpenFolder(Text(names.Get(i))));
    const UniqueFd upper = OpenFolder(Text(info[1]));
    const UniqueFd work = OpenFolder(Text(info[2]));
    const UniqueFd target = OpenFolder(Text(info[3]));
    if (!MountByDescriptors(lower, upper, work, target)) MountByOptions(lower, upper, work, target);
    return info.Env().Undefined();
  } catch (const SysError& error) {
    throw ToJs(info.Env(), error);
  }
}

/// unmount(target): true if something was mounted there. Detaches at once; what still uses it keeps it alive.
Napi::Value Unmount(const Napi::CallbackInfo& info) {
  const std::string target = Text(info[0]);
  if (::umount2(target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return Napi::Boolean::New(info.Env(), true);
  if (errno == EINVAL || errno == ENOENT) return Napi::Boolean::New(info.Env(), false);
  throw ToJs(info.Env(), SysError(errno, "unmount " + target));
}

}  // namespace
}  // namespace gantry

void InitOverlay(Napi::Env env, Napi::Object exports) {
  exports.Set("mountOverlay", Napi::Function::New(env, gantry::MountOverlay, "mountOverlay"));
  exports.Set("unmount", Napi::Function::New(env, gantry::Unmount, "unmount"));
}
