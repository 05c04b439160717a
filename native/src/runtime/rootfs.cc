#include "runtime/rootfs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "core/defence.h"
#include "runtime/console_inside.h"
#include "runtime/copy_up.h"
#include "runtime/devices.h"
#include "runtime/inside.h"
#include "runtime/mounts.h"

// From <sys/mount.h>, which cannot be included together with <linux/mount.h>.
extern "C" int umount2(const char* target, int flags) noexcept;
constexpr std::uint64_t kPrivate = 1U << 18;
constexpr int kDetach = 2;

namespace gantry {
namespace {

// Made before main: the child must not allocate.
const std::vector<std::pair<std::string, std::string>> kCgroupBase = {{"mode", "755"}, {"size", "64k"}};

int CloneMount(int mount, bool recursive) noexcept {
  const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  return static_cast<int>(::syscall(SYS_open_tree, mount, "", flags));
}

/// In a cgroup namespace of its own, whose root the container's cgroup is, the hierarchy; else the container's part of
/// it.
int MakeCgroupView(const CgroupView& view, std::uint64_t attributes) noexcept {
  if (view.directory.empty()) return MakeDetached(view.fs_type, view.parameters, attributes);
  const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  const int clone = static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, view.directory.c_str(), flags));
  return clone >= 0 && SetAttributes(clone, attributes, 0, kPrivate, false) ? clone : -1;
}

/// Who is rootless has no cgroup of the container where nobody gave him the right to make one.
bool IsThere(const CgroupView& view) noexcept {
  return view.directory.empty() || ::access(view.directory.c_str(), F_OK) == 0;
}

/// Version 2 alone is one mount; otherwise a small tmpfs holds one directory for each hierarchy.
void MountCgroups(const Plan& plan, const MountPlan& mount, int target, const Channel& up) noexcept {
  const std::uint64_t attributes = mount.attributes;
  if (plan.cgroup_views.size() == 1 && plan.cgroup_views[0].name.empty() && IsThere(plan.cgroup_views[0])) {
    const CgroupView& view = plan.cgroup_views[0];
    const int made = MakeCgroupView(view, attributes);
    up.Must(made >= 0 && Attach(made, target), Step::kCgroupMount);
    ::close(made);
    return;
  }
  const int base = MakeDetached("tmpfs", kCgroupBase, attributes & ~std::uint64_t{MOUNT_ATTR_RDONLY});
  up.Must(base >= 0 && Attach(base, target), Step::kCgroupMount);
  for (const CgroupView& view : plan.cgroup_views) {
    if (view.name.empty() || (!plan.privileged && !IsThere(view))) continue;
    up.Must(::mkdirat(base, view.name.c_str(), 0755) == 0, Step::kCgroupMount);
    const int directory = ::openat(base, view.name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const int made = MakeCgroupView(view, attributes);
    up.Must(directory >= 0 && made >= 0 && Attach(made, directory), Step::kCgroupMount);
    ::close(made);
    ::close(directory);
    for (const std::string& link : view.links) {
      up.Must(::symlinkat(view.name.c_str(), base, link.c_str()) == 0, Step::kCgroupMount);
    }
  }
  if ((attributes & MOUNT_ATTR_RDONLY) != 0) {
    up.Must(SetAttributes(base, MOUNT_ATTR_RDONLY, 0, 0, false), Step::kCgroupMount);
  }
  ::close(base);
}

/// While nobody sees it: also a read-only mount.
bool Fill(const MountPlan& mount, int covered, int made) noexcept {
  const std::uint64_t read_only = mount.attributes & MOUNT_ATTR_RDONLY;
  if (read_only != 0 && !SetAttributes(made, 0, read_only, 0, false)) return false;
  return CopyUp(covered, made) && (read_only == 0 || SetAttributes(made, read_only, 0, 0, false));
}

/// A file system of the child's own. Where the kernel refuses a fresh sysfs (somebody else's network, or one that shows
/// less than ours), the host's, read-only, as the other runtimes do. A container in the host's pid namespace, of which
/// only the host's root may make a proc, gets the one that is there; nothing else of the host is ever shown instead.
int MakeOwn(const Plan& plan, const MountPlan& mount) noexcept {
  const int made = MakeDetached(mount.fs_type.c_str(), mount.parameters, mount.attributes);
  const bool sysfs = mount.fs_type == "sysfs";
  const bool proc = mount.fs_type == "proc" && !plan.config.Isolates(CLONE_NEWPID);
  if (made >= 0 || errno != EPERM || !(sysfs || proc)) return made;
  const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE;
  const int clone = static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, sysfs ? "/sys" : "/proc", flags));
  const std::uint64_t attributes = mount.attributes | (sysfs ? MOUNT_ATTR_RDONLY : 0);
  return clone >= 0 && SetAttributes(clone, attributes, 0, kPrivate, true) ? clone : -1;
}

void MountOne(const Plan& plan, int index, int root, const Channel& up) noexcept {
  const MountPlan& mount = plan.mounts[static_cast<std::size_t>(index)];
  const int target = OpenTarget(root, mount.target.c_str(), mount.directory, mount.plain_path);
  up.Must(target >= 0, Step::kMountTarget, index);

  // The configuration was checked by name; a symlink in the image could still lead into /proc.
  struct statfs fs{};
  up.Must(::fstatfs(target, &fs) == 0, Step::kMountTarget, index);
  if (Has(Defence::kProcIsProc) && fs.f_type == PROC_SUPER_MAGIC && !mount.target.starts_with("/proc")) {
    errno = EPERM;
    up.Fail(Step::kMountInProc, index);
  }
  if (mount.fs_type == "cgroup") {
    MountCgroups(plan, mount, target, up);
  } else {
    struct stat covered{};
    up.Must(!mount.keep_mode || ::fstat(target, &covered) == 0, Step::kMountTarget, index);
    const int made = mount.fs_type.empty() ? mount.detached.get() : MakeOwn(plan, mount);
    up.Must(made >= 0 && (!mount.copy_up || Fill(mount, target, made)) && Attach(made, target), Step::kMount, index);
    if (mount.keep_mode && (mount.attributes & MOUNT_ATTR_RDONLY) == 0) {
      up.Must(::fchmodat(made, ".", covered.st_mode & 07777, 0) == 0, Step::kMount, index);
    }
    ::close(made);
  }
  ::close(target);
}

/// Covers one path. The first cover is the prepared mount itself, the others are clones of it.
void Mask(const Plan& plan, int root, const Channel& up) noexcept {
  bool directory_used = false;
  bool null_used = false;
  for (std::size_t i = 0; i < plan.config.masked_paths.size(); ++i) {
    const int index = static_cast<int>(i);
    const int target = OpenInside(root, plan.config.masked_paths[i].c_str(), O_PATH);
    if (target < 0 && (errno == ENOENT || errno == ENOTDIR)) continue;
    struct stat status{};
    up.Must(target >= 0 && ::fstat(target, &status) == 0, Step::kMaskPath, index);
    const bool directory = S_ISDIR(status.st_mode);
    const int source = directory ? plan.masked_directory.get()
                       : !Has(Defence::kHostNull)
                           ? static_cast<int>(::syscall(SYS_open_tree, root, "dev/null", OPEN_TREE_CLONE))
                           : plan.null_device.get();
    bool& used = directory ? directory_used : null_used;
    const int cover = used ? CloneMount(source, false) : source;
    up.Must(cover >= 0 && Attach(cover, target), Step::kMaskPath, index);
    if (used) ::close(cover);
    used = true;
    ::close(target);
  }
}

void MakeReadonly(const Plan& plan, int root, const Channel& up) noexcept {
  for (std::size_t i = 0; i < plan.config.readonly_paths.size(); ++i) {
    const int index = static_cast<int>(i);
    const int target = OpenInside(root, plan.config.readonly_paths[i].c_str(), O_PATH);
    if (target < 0 && (errno == ENOENT || errno == ENOTDIR)) continue;
    up.Must(target >= 0, Step::kReadonlyPath, index);
    const int clone = CloneMount(target, true);
    up.Must(clone >= 0 && SetAttributes(clone, MOUNT_ATTR_RDONLY, 0, 0, true) && Attach(clone, target),
            Step::kReadonlyPath, index);
    ::close(clone);
    ::close(target);
  }
}

/// A working directory that the image lacks is made, as the other runtimes do; if it cannot be, chdir will say why.
void MakeWorkingDirectory(const Plan& plan, int root) noexcept {
  if (!plan.config.process) return;
  const std::string& cwd = plan.config.process->cwd;
  const int existing = OpenInside(root, cwd.c_str(), O_PATH);
  const int made = existing < 0 && errno == ENOENT ? OpenTarget(root, cwd.c_str(), true, false) : -1;
  if (existing >= 0) ::close(existing);
  if (made >= 0) ::close(made);
}

/// What whoever is rootless could not prepare before there was a mount namespace that he may change: with the ids of
/// the host, whose paths these are.
void CloneFromHost(Plan& plan, const Channel& up) noexcept {
  plan.rootfs = UniqueFd(CloneTreeAt(plan.rootfs_path.c_str()));
  const std::uint64_t nodev = plan.dev_mounted ? MOUNT_ATTR_NODEV : 0;
  up.Must(plan.rootfs.get() >= 0 && SetAttributes(plan.rootfs.get(), nodev, 0, 0, false), Step::kRootfs);
  for (std::size_t i = 0; i < plan.mounts.size(); ++i) {
    if (!plan.mounts[i].bind) continue;
    up.Must(CloneBind(plan.mounts[i]), Step::kMount, static_cast<int>(i));
  }
  if (!plan.config.masked_paths.empty()) {
    plan.null_device = UniqueFd(CloneNullDevice());
    up.Must(plan.null_device.get() >= 0, Step::kMaskPath);
    plan.masked_directory = UniqueFd(MakeMaskedDirectory());
    up.Must(plan.masked_directory.get() >= 0, Step::kMaskPath);
  }
}

/// Root of the user namespace, so that what is made belongs to it.
void BecomeMappedRoot(const Plan& plan, const Channel& up) noexcept {
  const bool grouped = ::syscall(SYS_setgroups, 0, nullptr) == 0;
  up.Must(grouped || (errno == EPERM && plan.process.groups_may_stay), Step::kMappedRoot);
  up.Must(::syscall(SYS_setresgid, 0, 0, 0) == 0 && ::syscall(SYS_setresuid, 0, 0, 0) == 0, Step::kMappedRoot);
  DieWithParent(up);  // changing the user cleared it
}

}  // namespace

void EnterRootfs(Plan& plan, const Channel& up) noexcept {
  const int host = ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  up.Must(host >= 0 && SetAttributes(host, 0, 0, kPrivate, true), Step::kPropagation);
  const int place = ::open(plan.rootfs_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (!plan.privileged) CloneFromHost(plan, up);
  if (plan.UserNamespace() >= 0) BecomeMappedRoot(plan, up);
  const int root = plan.rootfs.get();
  up.Must(place >= 0 && Attach(root, place), Step::kRootfs);
  ::close(place);
  ::close(host);

  for (std::size_t i = 0; i < plan.mounts.size(); ++i) MountOne(plan, static_cast<int>(i), root, up);
  if (plan.process.console_inside) OpenConsoleInside(plan.process, root, up);
  if (!plan.dev_bound) SetUpDev(plan, root, up);
  MakeDevices(plan, root, up);
  Mask(plan, root, up);
  MakeReadonly(plan, root, up);
  MakeWorkingDirectory(plan, root);

  if (plan.config.hooks.AtCreate()) {
    Say(up.fd, Report::kHooks, Step::kNone, 0, 0);
    up.Must(AwaitWord(plan.process), Step::kHook);
  }

  // The process must be inside before the old root goes; pivot_root(".", ".") stacks the old one on the new.
  up.Must(::fchdir(root) == 0 && ::syscall(SYS_pivot_root, ".", ".") == 0, Step::kPivot);
  up.Must(::umount2(".", kDetach) == 0 && ::chdir("/") == 0, Step::kPivot);
  if (plan.config.root_readonly) up.Must(SetAttributes(root, MOUNT_ATTR_RDONLY, 0, 0, false), Step::kRootOptions);
  if (plan.config.root_propagation != 0) {
    up.Must(SetAttributes(root, 0, 0, plan.config.root_propagation, true), Step::kRootOptions);
  }
}

}  // namespace gantry
