#include "runtime/devices.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "core/defence.h"
#include "runtime/inside.h"
#include "runtime/mounts.h"

namespace gantry {
namespace {

struct Node {
  const char* name;
  const char* host_path;
  unsigned major;
  unsigned minor;
};

constexpr Node kNodes[] = {{"null", "/dev/null", 1, 3},       {"zero", "/dev/zero", 1, 5},
                           {"full", "/dev/full", 1, 7},       {"random", "/dev/random", 1, 8},
                           {"urandom", "/dev/urandom", 1, 9}, {"tty", "/dev/tty", 5, 0}};

struct Link {
  const char* name;
  const char* target;
};

constexpr Link kLinks[] = {{"fd", "/proc/self/fd"},
                           {"stdin", "/proc/self/fd/0"},
                           {"stdout", "/proc/self/fd/1"},
                           {"stderr", "/proc/self/fd/2"}};

constexpr int kNotListed = INT_MAX;  // a default device: it has no place in linux.devices

/// In a user namespace no device can be made: the host's is shown.
bool BindNode(int directory, const char* name, const char* host_path, mode_t mode, dev_t device) noexcept {
  const int clone = CloneDevice(host_path, mode & S_IFMT, device);
  if (clone < 0) return false;
  const int target = ::openat(directory, name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  const bool attached = target >= 0 && Attach(clone, target);
  const int error = errno;
  ::close(clone);
  if (target >= 0) ::close(target);
  errno = error;
  return attached;
}

/// Makes a node, or accepts one that is there already and is exactly the same device.
bool MakeNode(int directory, const char* name, const char* host_path, mode_t mode, dev_t device, bool* made) noexcept {
  *made = ::mknodat(directory, name, mode, device) == 0;
  if (*made) return true;
  if (errno == EPERM) return BindNode(directory, name, host_path, mode, device);
  if (errno != EEXIST) return false;
  struct stat status{};
  if (::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
  errno = EEXIST;
  if (!Has(Defence::kHostNull)) return true;
  return (status.st_mode & S_IFMT) == (mode & S_IFMT) && (S_ISFIFO(mode) || status.st_rdev == device);
}

void MountConsole(const Plan& plan, int dev, const Channel& up) noexcept {
  int target = ::openat(dev, "console", O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (target < 0 && errno == EEXIST) {
    struct stat status{};
    target = ::openat(dev, "console", O_PATH | (Has(Defence::kConsoleNotFollowed) ? O_NOFOLLOW : 0) | O_CLOEXEC);
    up.Must(target >= 0 && ::fstat(target, &status) == 0, Step::kConsole);
    errno = EEXIST;
    up.Must(S_ISREG(status.st_mode) || S_ISCHR(status.st_mode), Step::kConsole);
  }
  up.Must(target >= 0, Step::kConsole);
  const int clone = CloneFile(plan.process.console.get());
  up.Must(clone >= 0 && Attach(clone, target), Step::kConsole);
  ::close(clone);
  ::close(target);
}

constexpr int kLinkAttempts = 100;

}  // namespace

void SetUpDev(const Plan& plan, int root, const Channel& up) noexcept {
  const int dev = OpenTarget(root, "/dev", true, true);
  up.Must(dev >= 0, Step::kDev);
  bool made = false;
  for (const Node& node : kNodes) {
    up.Must(MakeNode(dev, node.name, node.host_path, S_IFCHR | 0666, ::makedev(node.major, node.minor), &made),
            Step::kDevice, kNotListed);
  }
  for (const Link& link : kLinks) {
    up.Must(::symlinkat(link.target, dev, link.name) == 0 || errno == EEXIST, Step::kDeviceLink);
  }
  // An image's own ptmx node would reach the host's terminals. Another container of the same root may do this just now.
  for (int attempt = 0;; ++attempt) {
    up.Must(::unlinkat(dev, "ptmx", 0) == 0 || errno == ENOENT, Step::kDeviceLink);
    if (::symlinkat("pts/ptmx", dev, "ptmx") == 0) break;
    up.Must(errno == EEXIST && attempt < kLinkAttempts, Step::kDeviceLink);
  }
  if (plan.process.console.get() >= 0) MountConsole(plan, dev, up);
  ::close(dev);
}

void MakeDevices(const Plan& plan, int root, const Channel& up) noexcept {
  for (std::size_t i = 0; i < plan.config.devices.size(); ++i) {
    const DeviceConfig& device = plan.config.devices[i];
    // A privileged container lists the host's; its own leads to its own devpts.
    if (device.path == "/dev/ptmx" && !plan.dev_bound) continue;
    const int index = static_cast<int>(i);
    char parent[PATH_MAX];
    const std::size_t slash = device.path.rfind('/');
    const std::size_t length = slash == 0 ? 1 : slash;
    errno = ENAMETOOLONG;
    up.Must(length < sizeof parent, Step::kDevice, index);
    ::memcpy(parent, device.path.data(), length);
    parent[length] = '\0';
    const int directory = OpenTarget(root, parent, true, device.path.starts_with("/dev/"));
    up.Must(directory >= 0, Step::kDevice, index);
    const char* name = device.path.c_str() + slash + 1;
    bool made = false;
    up.Must(MakeNode(directory, name, device.path.c_str(), device.mode, device.device, &made), Step::kDevice, index);
    if (made && (device.uid != 0 || device.gid != 0)) {
      up.Must(::fchownat(directory, name, device.uid, device.gid, AT_SYMLINK_NOFOLLOW) == 0, Step::kDevice, index);
    }
    ::close(directory);
  }
}

}  // namespace gantry
