// A frozen container, and a monitor that is killed.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace gantry {

/// Cgroup version 1 keeps what is frozen from dying: it would stay, killed, for as long as nobody thaws it. So while a
/// container is frozen, a process stands by that does nothing but thaw it when its parent, who made this, is killed.
/// Where what is frozen dies (version 2), there is none.
class ThawAtDeath {
 public:
  /// Of the container in these cgroups. Throws SysError.
  explicit ThawAtDeath(const std::vector<std::string>& directories);
  ThawAtDeath(const ThawAtDeath&) = delete;
  ThawAtDeath& operator=(const ThawAtDeath&) = delete;
  /// Nobody stands by any more.
  ~ThawAtDeath();

 private:
  pid_t pid_ = -1;
};

}  // namespace gantry
