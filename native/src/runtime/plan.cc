#include "runtime/plan.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "core/defence.h"
#include "core/own_ids.h"
#include "runtime/console.h"
#include "runtime/files.h"
#include "runtime/json.h"
#include "runtime/time_namespace.h"

// From <linux/mount.h>, which cannot be included together with <sys/mount.h>.
constexpr std::uint64_t kMountReadOnly = 0x1;
constexpr std::uint64_t kMountNoDev = 0x4;

namespace gantry {
namespace {

/// A group that the user namespace does not have cannot own its terminals: then they are the user's alone.
void DropUnmappedGroup(Plan& plan, MountPlan& mount) {
  if (mount.fs_type != "devpts" || plan.user_namespace.get() < 0) return;
  std::erase_if(mount.parameters, [&](const auto& parameter) {
    std::uint32_t gid = 0;
    const std::string& text = parameter.second;
    if (parameter.first != "gid") return false;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), gid);
    const bool drop = error == std::errc() && !HostId(plan.config.mappings.gids, gid);
    if (drop) {
      plan.config.warnings.push_back(mount.target + ": gid=" + text +
                                     " is left out: it is not among linux.gidMappings");
    }
    return drop;
  });
}

void PrepareMounts(Plan& plan) {
  bool wants_cgroups = false;
  const bool own_namespace = (plan.config.namespaces & CLONE_NEWCGROUP) != 0;
  const MountContext context{
      .bundle = plan.bundle, .privileged = plan.privileged, .user_namespace = plan.UserNamespace()};
  for (const MountConfig& mount : plan.config.mounts) {
    plan.mounts.push_back(PrepareMount(mount, context));
    MountPlan& last = plan.mounts.back();
    DropUnmappedGroup(plan, last);
    if (last.target == "/dev") {
      plan.dev_mounted = true;
      plan.dev_bound = mount.type != "tmpfs";
    }
    if (last.fs_type == "cgroup" || last.fs_type == "cgroup2") {
      wants_cgroups = true;
      last.fs_type = "cgroup";
      // What a user may write in his own cgroups would be more than the container's (CVE-2023-25809).
      if (Has(Defence::kReadOnlyCgroups) && !plan.privileged && !own_namespace) last.attributes |= kMountReadOnly;
    }
  }
  if (!wants_cgroups) return;
  // Where systemd puts it is known when it has.
  const std::string path = plan.scope ? "" : CgroupPath(plan.config.cgroups_path, plan.id);
  for (const Hierarchy& hierarchy : FindHierarchies()) {
    CgroupView view{
        .name = hierarchy.directory.substr(hierarchy.directory.rfind('/') + 1),
        .directory =
            own_namespace ? "" : hierarchy.directory + (plan.process.attachment.own_cgroup ? path : hierarchy.own),
        .fs_type = hierarchy.unified() ? "cgroup2" : "cgroup",
        .parameters = {},
        .links = {}};
    if (hierarchy.directory == "/sys/fs/cgroup") view.name.clear();  // pure version 2: the mount itself
    if (hierarchy.controllers.starts_with("name=")) {
      view.parameters.emplace_back("name", hierarchy.controllers.substr(5));
    } else if (!hierarchy.unified()) {
      std::string rest = hierarchy.controllers;
      while (!rest.empty()) {
        const std::string controller = rest.substr(0, rest.find(','));
        view.parameters.emplace_back(controller, "");
        if (controller != view.name) view.links.push_back(controller);
        rest.erase(0, controller.size() + 1);
      }
    }
    plan.cgroup_views.push_back(std::move(view));
  }
}

/// A namespace that is joined may turn out to be the host's: nothing may be set in it then.
void RefuseHostNamespaces(const Config& config) {
  for (const JoinedNamespace& joined : config.joined) {
    if (!IsOwnNamespace(joined)) continue;
    const bool sets = std::ranges::any_of(config.sysctl, [&](const auto& setting) {
      const bool net = setting.first.starts_with("/proc/sys/net/");
      const bool uts = setting.first == "/proc/sys/kernel/domainname";
      return joined.type == CLONE_NEWNET   ? net
             : joined.type == CLONE_NEWUTS ? uts
                                           : joined.type == CLONE_NEWIPC && !net && !uts;
    });
    const bool names = joined.type == CLONE_NEWUTS && !(config.hostname.empty() && config.domainname.empty());
    if (sets || names) {
      throw ConfigError(joined.where + ".path: " + joined.path +
                        " is the host's own: hostname, domainname and linux.sysctl would change the host");
    }
  }
}

/// The variables are for the process whose number is in them: that of the first in a new pid namespace is known.
void TellOfSockets(const Attachment& attachment, Config& config) {
  if (attachment.listening == 0 || !config.process) return;
  if ((config.namespaces & CLONE_NEWPID) == 0) {
    config.warnings.emplace_back(
        "the program is not told of the sockets of LISTEN_FDS: that takes a new pid namespace");
    return;
  }
  config.process->env.push_back("LISTEN_FDS=" + std::to_string(attachment.listening));
  config.process->env.emplace_back("LISTEN_PID=1");
}

/// The container's own devpts, mounted or about to be.
int FindDevpts(const Plan& plan) {
  const auto devpts =
      std::ranges::find_if(plan.mounts, [](const MountPlan& mount) { return mount.target == "/dev/pts"; });
  if (devpts == plan.mounts.end() || devpts->detached.get() < 0) {
    throw ConfigError("process.terminal: needs a devpts file system among mounts, on /dev/pts");
  }
  return devpts->detached.get();
}

std::string RealPath(const std::string& path, const std::string& step) {
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) throw SysError(errno, step);
  return resolved;
}

}  // namespace

int Plan::UserNamespace() const {
  if (user_namespace.get() >= 0) return user_namespace.get();
  const auto joined = std::ranges::find(config.joined, std::uint64_t{CLONE_NEWUSER}, &JoinedNamespace::type);
  return joined == config.joined.end() ? -1 : joined->fd.get();
}

std::unique_ptr<Plan> PreparePlan(const std::string& id, const std::string& bundle, const Attachment& attachment) {
  auto plan = std::make_unique<Plan>();
  plan->id = id;
  plan->process.attachment = attachment;
  plan->bundle = RealPath(bundle, "open the bundle " + bundle);
  plan->document = ReadFile(plan->bundle + "/config.json", kMaxJsonBytes);
  try {
    plan->config = ParseConfig(plan->document);
    if (attachment.own_cgroup && (attachment.systemd_cgroup || NamesScope(plan->config.cgroups_path))) {
      plan->scope = PlanScope(plan->config, id);
    }
    TellOfSockets(plan->process.attachment, plan->config);
    OpenNamespaces(plan->config.joined);
    RefuseHostNamespaces(plan->config);
    plan->privileged = IsPrivileged();
    if (!plan->privileged && !plan->config.Isolates(CLONE_NEWUSER)) {
      throw ConfigError("linux.namespaces: a user namespace is needed by whoever is not root");
    }
    if ((plan->config.namespaces & CLONE_NEWUSER) != 0) {
      plan->user_namespace = MakeUserNamespace(plan->config.mappings);
    }
    const std::string& root = plan->config.root_path;
    if (root.empty()) throw ConfigError("root.path: must not be empty");
    plan->rootfs_path = RealPath(root.starts_with('/') ? root : plan->bundle + "/" + root, "root.path: open " + root);
    if (plan->privileged) plan->rootfs = CloneTree(plan->rootfs_path);
    PrepareMounts(*plan);
    // Without a device cgroup a device node on the root file system would be a way to the host's disks.
    if (plan->privileged && plan->dev_mounted && !SetAttributes(plan->rootfs.get(), kMountNoDev, 0, 0, false)) {
      throw SysError(errno, "set the options of the root file system");
    }
    if (plan->privileged && !plan->config.masked_paths.empty()) {
      plan->masked_directory = UniqueFd(MakeMaskedDirectory());
      if (plan->masked_directory.get() < 0) throw SysError(errno, "make the empty directory for masked paths");
      plan->null_device = UniqueFd(CloneNullDevice());
      if (plan->null_device.get() < 0) throw SysError(errno, "clone /dev/null, device 1:3");
    }
    plan->process.keyring = "_ses." + id;
    plan->process.new_time = (plan->config.namespaces & CLONE_NEWTIME) != 0;
    plan->process.time_offsets = plan->config.time_offsets;
    if (plan->config.process) {
      PrepareProcess(plan->process, *plan->config.process, plan->config);
      const bool inside = plan->UserNamespace() >= 0;
      plan->process.groups_may_stay =
          (inside || !OwnIds::Get().MayChangeGroups()) && plan->config.process->additional_gids.empty();
      plan->process.console_inside = inside && plan->config.process->terminal;
      if (plan->config.process->terminal && !inside) PrepareConsole(plan->process, FindDevpts(*plan));
    }
  } catch (const ConfigError& error) {
    throw ConfigError("config.json: " + std::string(error.what()));
  } catch (const JsonError& error) {
    throw ConfigError("config.json: " + std::string(error.what()));
  }
  return plan;
}

std::string Describe(const Plan& plan, const Report& report) {
  const Config& config = plan.config;
  if (config.process) {
    if (auto known = DescribeProcess(*config.process, report)) return *known;
  }
  const auto index = static_cast<std::size_t>(report.index);
  std::string what = StepName(report.step);
  const auto name = [&](const auto& list, const auto& get) {
    if (index < list.size()) what += " " + get(list[index]);
  };
  switch (report.step) {
    case Step::kMount:
    case Step::kMountTarget:
    case Step::kMountInProc:
      name(config.mounts, [](const MountConfig& mount) { return mount.where + " (" + mount.destination + ")"; });
      break;
    case Step::kMaskPath:
      name(config.masked_paths, [](const std::string& path) { return path; });
      break;
    case Step::kReadonlyPath:
      name(config.readonly_paths, [](const std::string& path) { return path; });
      break;
    case Step::kNamespace:
      name(config.joined, [](const auto& joined) { return joined.where + " (" + joined.path + ")"; });
      break;
    case Step::kSysctl:
      name(config.sysctl, [](const auto& setting) { return setting.first; });
      break;
    case Step::kDevice:
      name(config.devices, [](const DeviceConfig& device) { return device.path; });
      break;
    default:
      break;
  }
  what += ": " + ErrorText(report.error);
  // All that the kernel says where one of the two is a folder and the other is none.
  const bool bind = report.step == Step::kMount && index < config.mounts.size() &&
                    !config.mounts[index].source.empty() && config.mounts[index].source.starts_with('/');
  if (bind && (report.error == EINVAL || report.error == ENOTDIR)) {
    what += " (a folder is mounted on a folder, a file on a file: is " + config.mounts[index].source +
            " what it should be?)";
  }
  return what;
}

}  // namespace gantry
