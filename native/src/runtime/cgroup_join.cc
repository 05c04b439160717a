#include "runtime/cgroup_join.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>

#include <algorithm>

#include "runtime/cgroup.h"
#include "runtime/config.h"

namespace gantry {

std::vector<std::string> SubCgroups(std::vector<std::string> directories, const std::string& words) {
  const auto colon = words.find(':');
  const std::string controller = colon == std::string::npos ? "" : words.substr(0, colon);
  const std::string path = CleanPath(colon == std::string::npos ? words : words.substr(colon + 1));
  const std::vector<Hierarchy> hierarchies = FindHierarchies();
  bool found = false;
  for (std::string& directory : directories) {
    const auto hierarchy = std::ranges::find_if(
        hierarchies, [&](const Hierarchy& each) { return directory.starts_with(each.directory + "/"); });
    const std::string controllers = hierarchy == hierarchies.end() ? "" : "," + hierarchy->controllers + ",";
    if (!controller.empty() && controllers.find("," + controller + ",") == std::string::npos) continue;
    found = true;
    if (path != "/") directory += path;
  }
  if (!found) throw ConfigError("--cgroup: the container has no cgroup of the controller " + QuoteJson(controller));
  return directories;
}

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
