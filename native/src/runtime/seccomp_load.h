// A compiled filter and the way it gets into the kernel.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/seccomp_profile.h"

namespace gantry {

struct SeccompFilter {
  std::vector<sock_filter> program;
  std::uint32_t flags = 0;  // SECCOMP_FILTER_FLAG_*
  bool notifies = false;    // loading gives a listener, which belongs to whoever listens on the path
  std::string listener_path;
  std::string listener_metadata;
};

/// Compiles. Throws ConfigError, also for a flag that this kernel does not know.
SeccompFilter PrepareSeccomp(const SeccompProfile& profile);

/// Whether this kernel takes filters with that flag.
bool KernelKnowsSeccompFlag(std::uint32_t flag);

/// Child side: from here on the filter holds. The listener, or 0; -1 with errno set on failure.
int LoadSeccomp(const SeccompFilter& filter) noexcept;

}  // namespace gantry
