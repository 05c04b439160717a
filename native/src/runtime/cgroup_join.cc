#include "runtime/cgroup_join.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>

namespace gantry {

CgroupDoor OpenCgroup(const std::vector<std::string>& directories) {
  CgroupDoor door;
  for (const std::string& path : directories) {
    const std::string step = "open the cgroup " + path;
    UniqueFd directory(
        checked(step.c_str(), [&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
    struct statfs fs{};
    checked(step.c_str(), [&] { return ::fstatfs(directory.get(), &fs); });
    if (fs.f_type == CGROUP2_SUPER_MAGIC) {
      door.unified = std::move(directory);
    } else {
      door.joins.emplace_back(checked(
          step.c_str(), [&] { return ::openat(directory.get(), kJoinFile, O_WRONLY | O_NOFOLLOW | O_CLOEXEC); }));
    }
  }
  return door;
}

}  // namespace gantry
