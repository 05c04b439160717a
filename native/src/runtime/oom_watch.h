// Being told when the kernel kills a cgroup's member for want of memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/sys.h"

namespace gantry {

class OomWatch {
 public:
  /// Where no hierarchy limits memory there is nothing to watch. Throws SysError.
  explicit OomWatch(const std::vector<std::string>& directories);

  /// Readable when something may have happened; -1: nothing ever does.
  int fd() const { return event_.get(); }
  /// Whether a member was killed since the last call. Never waits.
  bool Happened();

 private:
  std::uint64_t Count() const;

  std::string counter_;  // the file that counts
  UniqueFd event_;
  std::uint64_t seen_ = 0;
};

}  // namespace gantry
