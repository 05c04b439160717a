// Everything the child needs, complete before it exists: after clone nothing is allocated, parsed or looked up.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/sys.h"
#include "runtime/cgroup.h"
#include "runtime/config.h"
#include "runtime/mounts.h"

namespace gantry {

/// What the child was doing when it failed.
enum class Step : unsigned {
  kNone,
  kCgroup,
  kCgroupNamespace,
  kOomScore,
  kSysctl,
  kHostname,
  kLoopback,
  kSession,
  kKeyring,
  kPropagation,
  kRootfs,
  kMount,
  kMountTarget,
  kMountInProc,
  kCgroupMount,
  kDev,
  kDevice,
  kDeviceLink,
  kConsole,
  kMaskPath,
  kReadonlyPath,
  kRootOptions,
  kPivot,
  kStdio,
  kDescriptors,
  kWorkingDirectory,
  kRlimit,
  kCapabilities,
  kUser,
  kNoNewPrivileges,
  kWait,
  kExec,
};

/// What the child says on its pipe; of one size, so that one write sends it whole.
struct Report {
  enum Kind : int { kReady = 1, kFailed = 2, kStarting = 3 };
  int kind = 0;
  Step step = Step::kNone;
  int error = 0;
  int index = 0;  // which mount, device, path …
};

/// How the container's process is attached to the outside.
struct Attachment {
  int stdio[3] = {0, 1, 2};
  int preserve_fds = 0;  // descriptors 3 … 3+n-1 stay open in the container
  bool die_with_parent = false;
  bool wait_for_start = false;  // create: stop before exec until `start`
};

/// One hierarchy as it is shown inside the container.
struct CgroupView {
  std::string name;  // the directory below the cgroup mount
  const char* fs_type;
  std::vector<std::pair<std::string, std::string>> parameters;
  std::vector<std::string> links;  // "cpu" and "cpuacct" for "cpu,cpuacct"
};

struct Plan {
  std::string id;
  std::string bundle;
  Config config;
  Attachment attachment;

  UniqueFd rootfs;
  std::string rootfs_path;
  std::vector<MountPlan> mounts;
  bool dev_mounted = false;  // the configuration mounts something on /dev
  bool dev_bound = false;    // and it is a bind of somebody else's
  UniqueFd masked_directory;
  UniqueFd null_device;
  std::unique_ptr<Cgroup> cgroup;
  std::vector<CgroupView> cgroup_views;  // empty unless the configuration mounts cgroups
  UniqueFd console_master;
  UniqueFd console;  // the container's end

  std::vector<std::string> programs;  // where to look for args[0], in order
  std::vector<char*> argv;
  std::vector<char*> envp;
  std::string keyring;

  UniqueFd status;      // the child's end of the report pipe
  UniqueFd start_fifo;  // create only: where `start` sends its byte
  UniqueFd exec_fifo;   // create only: where reports go once `start` was called
};

/// Reads config.json and prepares everything but the cgroup. Throws ConfigError, JsonError, SysError.
std::unique_ptr<Plan> PreparePlan(const std::string& id, const std::string& bundle);

/// A report in the words that runc, and so docker and podman, use.
std::string Describe(const Plan& plan, const Report& report);
const char* StepName(Step step);
/// strerror(3) in lower case, as Go prints it and as others search for it.
std::string ErrorText(int error);
/// The message of a failure, for people and for those who search it.
std::string Explain(const std::exception& failure);

}  // namespace gantry
