#include "runtime/cgroup_files.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/sys.h"
#include "runtime/config_error.h"
#include "runtime/files.h"
#include "runtime/json.h"

namespace gantry {

std::optional<std::string> CgroupFiles::Find(const std::string& file) const {
  for (const std::string& directory : directories_) {
    std::string path = directory + "/" + file;
    if (::access(path.c_str(), F_OK) == 0) return path;
  }
  return std::nullopt;
}

std::optional<std::string> CgroupFiles::Read(const std::string& file) const {
  const auto path = Find(file);
  return path ? std::optional(ReadFile(*path, 65536)) : std::nullopt;
}

void CgroupFiles::Write(const std::string& file, const std::string& value, const std::string& property) const {
  const auto path = Find(file);
  if (!path) {
    throw ConfigError(
        "linux.resources." + property + ": no controller of this host has " + file + " for the container's cgroup" +
        (directories_.empty() ? ": cgroups cannot be made here (/sys/fs/cgroup is absent or read-only)" : ""));
  }
  const std::string step = "linux.resources." + property + ": write " + QuoteJson(value) + " to " + *path;
  const UniqueFd opened(checked(step.c_str(), [&] { return ::open(path->c_str(), O_WRONLY | O_CLOEXEC); }));
  checked(step.c_str(), [&] { return ::write(opened.get(), value.data(), value.size()); });
}

}  // namespace gantry
