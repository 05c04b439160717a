// linux.resources.blockIO: shares and limits of block devices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/cgroup_files.h"
#include "runtime/field.h"

namespace gantry {

/// How the two versions of cgroups call one kind of limit of a device.
struct ThrottleName {
  const char* property;  // "throttleReadBpsDevice"
  const char* old_file;
  const char* key;  // in io.max
};

struct BlockThrottle {
  const ThrottleName* name;
  std::string device;      // "8:0"
  std::uint64_t rate = 0;  // bytes or operations in a second; 0: without limit
};

struct BlockWeight {
  std::string device;
  std::uint64_t weight = 0;
};

struct BlockIo {
  std::uint64_t weight = 0;  // 10 to 1000; 0: not given
  std::vector<BlockWeight> weights;
  std::vector<BlockThrottle> throttles;
};

/// From 10…1000 of version 1 to 1…10000 of version 2, as the other runtimes do it.
std::uint64_t UnifiedWeight(std::uint64_t weight);

/// Throws ConfigError.
BlockIo ParseBlockIo(const Field& field);

/// Throws as CgroupFiles::Write does.
void ApplyBlockIo(const BlockIo& limits, const CgroupFiles& files);

}  // namespace gantry
