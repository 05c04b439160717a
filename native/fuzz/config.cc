// config.json as anybody may write it: it is read, or refused with a reason; what is read keeps its promises.
#include "runtime/config.h"

#include <algorithm>
#include <string>

#include "fuzz.h"
#include "runtime/cgroup.h"
#include "runtime/json.h"
#include "runtime/mounts.h"
#include "runtime/process_plan.h"
#include "runtime/seccomp_compile.h"

namespace gantry::fuzz {
namespace {

bool IsClean(const std::string& path) {
  return path.starts_with('/') && path == CleanPath(path) && path.find("/../") == std::string::npos &&
         path.find('\0') == std::string::npos;
}

void ExpectPromises(const Config& config) {
  for (const MountConfig& mount : config.mounts) {
    Expect(IsClean(mount.destination) && mount.destination != "/", "mounts are below the root");
    Expect(mount.destination != "/proc" || mount.type == "proc", "only proc is on /proc");
  }
  for (const DeviceConfig& device : config.devices) Expect(IsClean(device.path), "devices are below the root");
  for (const std::string& path : config.masked_paths) Expect(IsClean(path), "masked paths are clean");
  for (const std::string& path : config.readonly_paths) Expect(IsClean(path), "read-only paths are clean");
  for (const auto& [path, value] : config.sysctl) {
    Expect(path.starts_with("/proc/sys/") && path.find("..") == std::string::npos, "sysctls are in /proc/sys");
    Expect(config.Isolates(CLONE_NEWIPC) || config.Isolates(CLONE_NEWNET) || config.Isolates(CLONE_NEWUTS),
           "sysctls are of a namespace of the container's own");
  }
  Expect((config.namespaces & CLONE_NEWNS) != 0, "there is a mount namespace");
  if (!config.process) return;
  const ProcessConfig& process = *config.process;
  Expect(process.uid <= kMaxId && process.gid <= kMaxId, "ids do not wrap (CVE-2024-40635)");
  Expect(!process.args.empty() && !process.args[0].empty(), "there is a program");
  Expect(process.cwd.starts_with('/'), "the working directory is absolute");
  Expect((process.capabilities.effective >> 41) == 0, "capabilities are known ones");
  const auto has_nul = [](const std::string& text) { return text.find('\0') != std::string::npos; };
  Expect(std::ranges::none_of(process.args, has_nul) && std::ranges::none_of(process.env, has_nul),
         "what the kernel reads up to a NUL has none within");
}

/// What follows from a configuration without a look at this machine.
void Prepare(Config& config) {
  const MountContext context{.bundle = "/bundle", .privileged = false, .user_namespace = 0};
  for (const MountConfig& mount : config.mounts) {
    try {
      const MountPlan plan = PrepareMount(mount, context);
      Expect(plan.target == mount.destination, "a mount goes where it was asked to go");
    } catch (const ConfigError&) {
      continue;  // an option that is none
    }
  }
  Expect(IsClean(CgroupPath(config.cgroups_path, "id")), "cgroups are below the root");
  if (config.seccomp) CompileSeccomp(*config.seccomp);
  config.seccomp.reset();  // what this kernel makes of it is the machine's, as is its cache
  if (!config.process) return;
  config.process->apparmor_profile.clear();  // whether there are any is the machine's
  ProcessPlan plan;
  PrepareProcess(plan, *config.process, config);
  Expect(plan.argv.size() == config.process->args.size() + 1 && plan.argv.back() == nullptr, "argv ends");
  Expect(plan.envp.back() == nullptr, "envp ends");
}

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gantry;
  try {
    Config config = ParseConfig(fuzz::Text(data, size));
    fuzz::ExpectPromises(config);
    fuzz::Prepare(config);
  } catch (const ConfigError&) {
    return 0;
  } catch (const JsonError&) {
    return 0;
  }
  return 0;
}
