// Everything the child needs, complete before it exists: after clone nothing is allocated, parsed or looked up.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/sys.h"
#include "runtime/cgroup.h"
#include "runtime/config.h"
#include "runtime/mounts.h"
#include "runtime/process_plan.h"

namespace gantry {

/// One hierarchy as it is shown inside the container.
struct CgroupView {
  std::string name;       // the directory below the cgroup mount
  std::string directory;  // of the host, where the container has no cgroup namespace of its own
  const char* fs_type;
  std::vector<std::pair<std::string, std::string>> parameters;
  std::vector<std::string> links;  // "cpu" and "cpuacct" for "cpu,cpuacct"
};

struct Plan {
  std::string id;
  std::string bundle;
  std::string document;  // config.json as it was read
  Config config;
  ProcessPlan process;

  bool privileged = true;   // else the child clones what it shows of the host
  UniqueFd user_namespace;  // a new one
  /// The one that the container is in: new, joined, or -1.
  int UserNamespace() const;

  UniqueFd rootfs;
  std::string rootfs_path;
  std::vector<MountPlan> mounts;
  bool dev_mounted = false;  // the configuration mounts something on /dev
  bool dev_bound = false;    // and it is a bind of somebody else's
  UniqueFd masked_directory;
  UniqueFd null_device;
  std::optional<ScopePlan> scope;  // of systemd, which is to make the cgroup
  std::unique_ptr<Cgroup> cgroup;
  std::vector<CgroupView>
      cgroup_views;  // of a cgroup namespace of its own; empty unless the configuration mounts cgroups
};

/// Reads config.json and prepares everything but the cgroup. Throws ConfigError, JsonError, SysError.
std::unique_ptr<Plan> PreparePlan(const std::string& id, const std::string& bundle, const Attachment& attachment);

/// A report in the words that runc, and so docker and podman, use.
std::string Describe(const Plan& plan, const Report& report);

}  // namespace gantry
