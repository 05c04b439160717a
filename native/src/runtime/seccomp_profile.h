// linux.seccomp of config.json as a typed value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/field.h"
#include "runtime/system_calls.h"

namespace gantry {

enum class Comparison { kNe, kLt, kLe, kEq, kGe, kGt, kMaskedEq };

struct SeccompCondition {
  unsigned argument = 0;  // 0 … 5
  Comparison comparison = Comparison::kEq;
  std::uint64_t value = 0;  // of kMaskedEq: the mask
  std::uint64_t second = 0;
};

struct SeccompRule {
  std::vector<const CallNumbers*> calls;     // those of its names that are known; others can be filtered by nobody
  std::uint32_t action = 0;                  // what a filter returns: SECCOMP_RET_* and its data
  std::vector<SeccompCondition> conditions;  // all have to hold
};

struct SeccompProfile {
  std::uint32_t default_action = 0;
  /// Calls that are newer than any the profile names answer ENOSYS: the C library then tries an older one.
  bool unknown_is_enosys = false;
  std::vector<Architecture> architectures;  // of those that programs on this machine can have; the native one first
  std::vector<SeccompRule> rules;
  std::optional<std::uint32_t> flags;  // SECCOMP_FILTER_FLAG_*; not given: what the kernel knows of our choice
  bool notifies = false;
  std::string listener_path;
  std::string listener_metadata;
};

/// What a machine can be asked for, the native architecture first.
const std::vector<Architecture>& MachineArchitectures(Architecture native);

/// The architecture that this program was compiled for.
Architecture NativeArchitecture();

/// Throws ConfigError with the path of what is wrong.
SeccompProfile ParseSeccomp(const Field& field, Architecture native);

/// The names that ParseSeccomp knows, for the features document.
std::vector<std::string> SeccompActions();
std::vector<std::string> SeccompOperators();
std::vector<std::string> SeccompArchitectures();

struct SeccompFlag {
  const char* name;
  std::uint32_t flag;  // 0: needs nothing, as a process here has one thread
};
const std::vector<SeccompFlag>& SeccompFlags();

}  // namespace gantry
