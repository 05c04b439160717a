// linux.memoryPolicy: the nodes of memory that a container's processes take theirs from.
#pragma once

#include <string_view>
#include <vector>

#include "runtime/field.h"
#include "runtime/number_list.h"

namespace gantry {

struct MemoryPolicy {
  int mode = 0;  // with its flags, as set_mempolicy(2) takes them
  NumberSet nodes;
};

/// Throws ConfigError.
MemoryPolicy ParseMemoryPolicy(const Field& field);

/// For the calling process and what is born of it. False with errno set on failure. System calls only.
bool ApplyMemoryPolicy(const MemoryPolicy& policy) noexcept;

std::vector<std::string_view> MemoryPolicyModes();
std::vector<std::string_view> MemoryPolicyFlags();

}  // namespace gantry
