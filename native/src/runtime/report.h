// What a child says on its pipe while it becomes a container's process, and the words for it.
#pragma once

#include <exception>
#include <string>

namespace gantry {

/// What the child was doing when it failed.
enum class Step : unsigned {
  kNone,
  kClone,
  kCgroup,
  kCgroupNamespace,
  kOomScore,
  kScheduler,
  kIoPriority,
  kAffinity,
  kPersonality,
  kMemoryPolicy,
  kTimeNamespace,
  kAppArmor,
  kSysctl,
  kHostname,
  kLoopback,
  kSession,
  kKeyring,
  kPropagation,
  kRootfs,
  kMappedRoot,
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
  kSeccomp,
  kHook,
  kNamespace,
  kWait,
  kExec,
};

/// What the child says on its pipe; of one size, so that one write sends it whole.
struct Report {
  enum Kind : int {
    kReady = 1,
    kFailed = 2,
    kStarting = 3,  // nothing is left to do but what only its own program could tell of
    kListener = 4,  // the filter is loaded; index: the child's descriptor of its listener; waits for a word on `go`
    kConsole = 6,   // it sent the terminal's master on `go`; waits for a word there
    kHooks = 5,     // everything is mounted, the root not yet changed; waits for a word on `go`
  };
  int kind = 0;
  Step step = Step::kNone;
  int error = 0;
  int index = 0;  // which mount, device, path …
};

const char* StepName(Step step);
/// strerror(3) in lower case, as Go prints it and as others search for it.
std::string ErrorText(int error);
/// The message of a failure, for people and for those who search it.
std::string Explain(const std::exception& failure);

}  // namespace gantry
