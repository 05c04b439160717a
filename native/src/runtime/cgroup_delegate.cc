#include "runtime/cgroup_delegate.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/sys.h"
#include "runtime/cgroup.h"
#include "runtime/files.h"

namespace gantry {
namespace {

bool MayWrite(const Config& config) {
  return std::ranges::any_of(config.mounts, [](const MountConfig& mount) {
    const bool cgroups = mount.type == "cgroup" || mount.type == "cgroup2";
    return cgroups && std::ranges::find(mount.options, "ro") == mount.options.end();
  });
}

void Give(const std::string& path, std::uint32_t uid) {
  if (::chown(path.c_str(), uid, static_cast<gid_t>(-1)) != 0 && errno != ENOENT)
    throw SysError(errno, "chown " + path);
}

}  // namespace

void DelegateCgroup(const Config& config, const std::vector<std::string>& directories) {
  const bool own_root = (config.namespaces & CLONE_NEWCGROUP) != 0;
  if (!own_root || !config.process || !MayWrite(config) || !IsPrivileged()) return;
  const bool mapped = (config.namespaces & CLONE_NEWUSER) != 0;
  const std::uint32_t uid = config.process->uid;
  const std::uint32_t owner = mapped ? HostId(config.mappings.uids, uid).value_or(uid) : uid;
  if (owner == 0) return;
  if (directories.size() != 1 || UnifiedDirectory(directories).empty()) return;
  const std::string& directory = directories.front();
  Give(directory, owner);
  std::string names = ReadFile("/sys/kernel/cgroup/delegate", 4096);
  while (!names.empty()) {
    const std::string name = names.substr(0, names.find('\n'));
    names.erase(0, name.size() + 1);
    if (!name.empty()) Give(directory + "/" + name, owner);
  }
}

}  // namespace gantry
