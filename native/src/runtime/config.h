// config.json as a typed value. What this runtime does not do yet is refused here, with the path of the property,
// whenever ignoring it would change how the container is isolated or how it behaves.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/config_error.h"
#include "runtime/field.h"
#include "runtime/hooks.h"
#include "runtime/memory_policy.h"
#include "runtime/namespaces.h"
#include "runtime/resources.h"
#include "runtime/scheduling.h"
#include "runtime/seccomp_profile.h"
#include "runtime/user_namespace.h"

namespace gantry {

struct MountConfig {
  std::string where;  // "mounts[3]", for messages
  std::string destination;
  std::string type;
  std::string source;
  std::vector<std::string> options;
  IdMappings mappings;
};

struct RlimitConfig {
  int resource;
  rlim_t soft;
  rlim_t hard;
};

struct CapabilitySets {
  std::uint64_t bounding = 0;
  std::uint64_t effective = 0;
  std::uint64_t permitted = 0;
  std::uint64_t inheritable = 0;
  std::uint64_t ambient = 0;
};

struct ProcessConfig {
  bool terminal = false;
  unsigned short rows = 0;  // 0: not given
  unsigned short columns = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::optional<std::uint32_t> umask;
  std::vector<std::uint32_t> additional_gids;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string cwd;
  CapabilitySets capabilities;
  std::vector<RlimitConfig> rlimits;
  bool no_new_privileges = false;
  std::optional<int> oom_score_adj;
  std::string apparmor_profile;  // "": none
  Scheduling scheduling;
};

struct DeviceConfig {
  std::string path;
  std::uint32_t mode;  // type and permissions
  std::uint64_t device;
  std::uint32_t uid;
  std::uint32_t gid;
};

struct Config {
  std::string oci_version;
  std::string root_path;
  bool root_readonly = false;
  std::uint64_t root_propagation = 0;  // MS_*; 0: not given
  std::vector<MountConfig> mounts;
  std::optional<ProcessConfig> process;
  std::string hostname;
  std::string domainname;
  std::vector<std::pair<std::string, std::string>> annotations;
  std::uint64_t namespaces = 0;  // CLONE_NEW*: those that are made
  std::vector<JoinedNamespace> joined;
  /// Whether the container has a namespace of that type that is made or joined.
  bool Isolates(std::uint64_t type) const;
  /// The capabilities that its processes can have: in a user namespace of their own all of them, else ours.
  std::uint64_t GrantableCapabilities() const;
  IdMappings mappings;       // of a new user namespace
  std::string time_offsets;  // of a new time namespace, as the kernel takes them
  std::vector<DeviceConfig> devices;
  std::vector<std::pair<std::string, std::string>> sysctl;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::string cgroups_path;
  std::optional<SeccompProfile> seccomp;
  std::optional<unsigned long> personality;
  std::optional<MemoryPolicy> memory_policy;
  Hooks hooks;
  Resources resources;
  std::vector<std::string> warnings;
};

inline constexpr std::int64_t kMaxId = 2147483647;  // above it, ids wrap to root in too many programs

/// Reads the description of a process. Throws ConfigError.
/// Capabilities that are not grantable are left out, with a warning.
ProcessConfig ParseProcess(const Field& field, std::uint64_t grantable, std::vector<std::string>& warnings);

/// Reads a configuration. Throws ConfigError (or JsonError for text that is not JSON).
Config ParseConfig(std::string_view document);

/// `create` can do without a process, `start` cannot (runtime-spec, "Start"). Throws ConfigError.
void RequireProcess(const Config& config);

/// "/a//b/../c/" as "/a/c": lexical, as the other runtimes do, so that ".." never reaches the kernel.
std::string CleanPath(std::string_view path);

}  // namespace gantry
