#include "layer/overlay_mount.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <cerrno>

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

}  // namespace

void MountOverlay(const OverlayMount& wanted) {
  std::vector<UniqueFd> lower;
  for (const std::string& folder : wanted.lower) lower.push_back(OpenFolder(folder));
  const UniqueFd upper = OpenFolder(wanted.upper);
  const UniqueFd work = OpenFolder(wanted.work);
  const UniqueFd target = OpenFolder(wanted.target);
  if (MountByDescriptors(lower, upper, work, wanted.lasting, target)) return;
  MountByOptions(lower, upper, work, wanted.lasting, target);
}

bool Unmount(const std::string& target) {
  if (::umount2(target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return true;
  if (errno == EINVAL || errno == ENOENT) return false;
  throw SysError(errno, "unmount " + target);
}

}  // namespace gantry
