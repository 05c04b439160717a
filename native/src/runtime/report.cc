#include "runtime/report.h"

#include <cctype>
#include <cstring>

#include "core/sys.h"

namespace gantry {

std::string ErrorText(int error) {
  std::string text = ::strerror(error);
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0) {
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  }
  return text;
}

std::string Explain(const std::exception& failure) {
  const auto* system = dynamic_cast<const SysError*>(&failure);
  return system == nullptr ? failure.what() : system->step + ": " + ErrorText(system->code().value());
}

const char* StepName(Step step) {
  switch (step) {
    case Step::kNone:
      return "start the container";
    case Step::kClone:
      return "clone the first process in its namespaces";
    case Step::kMappedRoot:
      return "become root of the user namespace";
    case Step::kCgroup:
      return "join the cgroup";
    case Step::kCgroupNamespace:
      return "make the cgroup namespace";
    case Step::kAppArmor:
      return "apply process.apparmorProfile";
    case Step::kOomScore:
      return "set process.oomScoreAdj";
    case Step::kScheduler:
      return "set process.scheduler";
    case Step::kIoPriority:
      return "set process.ioPriority";
    case Step::kAffinity:
      return "set process.execCPUAffinity.final";
    case Step::kPersonality:
      return "set linux.personality";
    case Step::kMemoryPolicy:
      return "set linux.memoryPolicy";
    case Step::kTimeNamespace:
      return "make the time namespace";
    case Step::kSysctl:
      return "set linux.sysctl";
    case Step::kHostname:
      return "set the host name";
    case Step::kLoopback:
      return "bring up the loopback interface";
    case Step::kSession:
      return "start a session";
    case Step::kKeyring:
      return "join a session keyring";
    case Step::kPropagation:
      return "make the mounts private";
    case Step::kRootfs:
      return "mount the root file system";
    case Step::kMount:
      return "mount";
    case Step::kMountTarget:
      return "open the target of";
    case Step::kMountInProc:
      return "refuse to mount inside /proc:";
    case Step::kCgroupMount:
      return "mount the cgroups";
    case Step::kDev:
      return "open /dev of the container";
    case Step::kDevice:
      return "make the device";
    case Step::kDeviceLink:
      return "make the links in /dev";
    case Step::kConsole:
      return "mount the console on /dev/console";
    case Step::kMaskPath:
      return "mask";
    case Step::kReadonlyPath:
      return "make read-only";
    case Step::kRootOptions:
      return "set the options of the root file system";
    case Step::kPivot:
      return "change the root";
    case Step::kStdio:
      return "set up standard input and output";
    case Step::kDescriptors:
      return "close descriptors";
    case Step::kWorkingDirectory:
      return "chdir to cwd";
    case Step::kRlimit:
      return "set";
    case Step::kCapabilities:
      return "set capabilities";
    case Step::kUser:
      return "set the user";
    case Step::kNoNewPrivileges:
      return "set no_new_privs";
    case Step::kSeccomp:
      return "load the seccomp filter";
    case Step::kHook:
      return "run hooks";
    case Step::kNamespace:
      return "join the namespace";
    case Step::kWait:
      return "wait for start";
    case Step::kExec:
      return "exec";
  }
  return "";
}

}  // namespace gantry
