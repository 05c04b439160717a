#include "runtime/config.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>

#include "runtime/capabilities.h"
#include "runtime/field.h"

namespace gantry {
namespace {

constexpr std::int64_t kMaxId = 2147483647;  // above it, ids wrap to root in too many programs

template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};

template <typename Value, std::size_t Size>
std::optional<Value> Lookup(const std::array<Named<Value>, Size>& table, std::string_view name) {
  for (const auto& row : table) {
    if (row.name == name) return row.value;
  }
  return std::nullopt;
}

constexpr std::array<Named<int>, 16> kRlimits = {{
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
}};

constexpr std::array<Named<std::uint64_t>, 6> kNamespaces = {{
    {"pid", CLONE_NEWPID},
    {"network", CLONE_NEWNET},
    {"mount", CLONE_NEWNS},
    {"ipc", CLONE_NEWIPC},
    {"uts", CLONE_NEWUTS},
    {"cgroup", CLONE_NEWCGROUP},
}};

constexpr std::array<Named<std::uint64_t>, 8> kPropagations = {{
    {"", 0},
    {"shared", MS_SHARED},
    {"rshared", MS_SHARED},
    {"slave", MS_SLAVE},
    {"rslave", MS_SLAVE},
    {"private", MS_PRIVATE},
    {"rprivate", MS_PRIVATE},
    {"unbindable", MS_UNBINDABLE},
}};

/// Only these may be mounted over something in /proc; all of them are harmless to whoever reads or writes them.
constexpr std::array<std::string_view, 10> kProcOverlays = {
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
};

void RefuseUnlessEmpty(const Field& field, const char* what) {
  if (!field.Empty()) field.Refuse(std::string(what) + " is not supported by this version");
}

std::uint64_t ParseCapabilitySet(const Field& field, std::vector<std::string>& warnings) {
  static const std::uint64_t permitted = PermittedCapabilities();
  std::uint64_t set = 0;
  for (const Field& item : field.Items()) {
    const std::string name = item.String();
    const auto bit = CapabilityBit(name);
    if (!bit) {
      warnings.push_back(item.path() + ": unknown capability " + QuoteJson(name) + " is left out");
    } else if (((permitted >> *bit) & 1) == 0) {
      warnings.push_back(item.path() + ": " + name + " is left out: the runtime itself does not have it");
    } else {
      set |= std::uint64_t{1} << *bit;
    }
  }
  return set;
}

std::vector<RlimitConfig> ParseRlimits(const Field& field) {
  std::vector<RlimitConfig> rlimits;
  for (const Field& item : field.Items()) {
    const auto resource = Lookup(kRlimits, item["type"].String());
    if (!resource) item["type"].Refuse("is no resource limit of Linux");
    const RlimitConfig limit{*resource, item["soft"].Unsigned(UINT64_MAX), item["hard"].Unsigned(UINT64_MAX)};
    if (limit.soft > limit.hard) item["soft"].Refuse("is above the hard limit");
    if (std::ranges::any_of(rlimits, [&](const auto& other) { return other.resource == limit.resource; })) {
      item["type"].Refuse("is given twice");
    }
    rlimits.push_back(limit);
  }
  return rlimits;
}

ProcessConfig ParseProcess(const Field& field, std::vector<std::string>& warnings) {
  RefuseUnlessEmpty(field["apparmorProfile"], "AppArmor");
  RefuseUnlessEmpty(field["selinuxLabel"], "SELinux");
  RefuseUnlessEmpty(field["scheduler"], "a scheduling policy");
  RefuseUnlessEmpty(field["ioPriority"], "an I/O priority");
  RefuseUnlessEmpty(field["execCPUAffinity"], "a CPU affinity");

  ProcessConfig process;
  process.terminal = field["terminal"].BoolOr(false);
  if (const Field size = field["consoleSize"]; process.terminal && size.Present()) {
    process.rows = static_cast<unsigned short>(size["height"].Integer(0, 65535));
    process.columns = static_cast<unsigned short>(size["width"].Integer(0, 65535));
  }
  const Field user = field["user"];
  if (user["uid"].Present()) process.uid = static_cast<std::uint32_t>(user["uid"].Integer(0, kMaxId));
  if (user["gid"].Present()) process.gid = static_cast<std::uint32_t>(user["gid"].Integer(0, kMaxId));
  if (user["umask"].Present()) process.umask = static_cast<std::uint32_t>(user["umask"].Integer(0, 0777));
  for (const Field& gid : user["additionalGids"].Items()) {
    process.additional_gids.push_back(static_cast<std::uint32_t>(gid.Integer(0, kMaxId)));
  }
  process.args = field["args"].Strings();
  if (process.args.empty()) field["args"].Refuse("must name a program");
  if (process.args[0].empty()) field["args"].Refuse("the program's name must not be empty");
  process.env = field["env"].Strings();
  const std::string cwd = field["cwd"].String();
  if (!cwd.starts_with('/')) field["cwd"].Refuse("must be an absolute path");
  process.cwd = cwd;  // as it is: the kernel resolves it inside the container, as the container's user
  const Field capabilities = field["capabilities"];
  process.capabilities = {
      .bounding = ParseCapabilitySet(capabilities["bounding"], warnings),
      .effective = ParseCapabilitySet(capabilities["effective"], warnings),
      .permitted = ParseCapabilitySet(capabilities["permitted"], warnings),
      .inheritable = ParseCapabilitySet(capabilities["inheritable"], warnings),
      .ambient = ParseCapabilitySet(capabilities["ambient"], warnings),
  };
  process.rlimits = ParseRlimits(field["rlimits"]);
  process.no_new_privileges = field["noNewPrivileges"].BoolOr(false);
  if (const Field score = field["oomScoreAdj"]; score.Present()) {
    process.oom_score_adj = static_cast<int>(score.Integer(-1000, 1000));
  }
  return process;
}

std::vector<MountConfig> ParseMounts(const Field& field) {
  std::vector<MountConfig> mounts;
  for (const Field& item : field.Items()) {
    RefuseUnlessEmpty(item["uidMappings"], "an id-mapped mount");
    RefuseUnlessEmpty(item["gidMappings"], "an id-mapped mount");
    MountConfig mount{
        .where = item.path(),
        .destination = CleanPath(item["destination"].String()),
        .type = item["type"].StringOr(""),
        .source = item["source"].StringOr(""),
        .options = item["options"].Strings(),
    };
    const std::string& to = mount.destination;
    if (to == "/") item["destination"].Refuse("must not be the root itself");
    if (to.size() >= 4000) item["destination"].Refuse("is too long");
    if (to == "/proc" && mount.type != "proc") item["destination"].Refuse("only a proc file system belongs on /proc");
    if (to.starts_with("/proc/") && std::ranges::find(kProcOverlays, to) == kProcOverlays.end()) {
      item["destination"].Refuse("nothing may be mounted inside /proc");
    }
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

std::uint64_t ParseNamespaces(const Field& field) {
  std::uint64_t flags = 0;
  for (const Field& item : field.Items()) {
    const std::string type = item["type"].String();
    const auto flag = Lookup(kNamespaces, type);
    if (!flag) item["type"].Refuse("a namespace of type " + QuoteJson(type) + " is not supported by this version");
    RefuseUnlessEmpty(item["path"], "joining a namespace");
    if ((flags & *flag) != 0) item["type"].Refuse("namespace " + QuoteJson(type) + " is listed twice");
    flags |= *flag;
  }
  if ((flags & CLONE_NEWNS) == 0) field.Refuse("must list a mount namespace");
  return flags;
}

std::vector<DeviceConfig> ParseDevices(const Field& field) {
  std::vector<DeviceConfig> devices;
  for (const Field& item : field.Items()) {
    DeviceConfig device{.path = CleanPath(item["path"].String()), .mode = 0666, .device = 0, .uid = 0, .gid = 0};
    if (device.path == "/" || device.path.starts_with("/proc/")) item["path"].Refuse("is no place for a device");
    if (item["fileMode"].Present())
      device.mode = static_cast<std::uint32_t>(item["fileMode"].Integer(0, 07777777)) & 07777;
    const std::string type = item["type"].String();
    if (type == "c" || type == "u") {
      device.mode |= S_IFCHR;
    } else if (type == "b") {
      device.mode |= S_IFBLK;
    } else if (type == "p") {
      device.mode |= S_IFIFO;
    } else {
      item["type"].Refuse("must be c, u, b or p");
    }
    if (type != "p") {
      device.device = makedev(static_cast<unsigned>(item["major"].Integer(0, 4095)),
                              static_cast<unsigned>(item["minor"].Integer(0, 1048575)));
    }
    if (item["uid"].Present()) device.uid = static_cast<std::uint32_t>(item["uid"].Integer(0, kMaxId));
    if (item["gid"].Present()) device.gid = static_cast<std::uint32_t>(item["gid"].Integer(0, kMaxId));
    devices.push_back(std::move(device));
  }
  return devices;
}

/// Only settings that belong to a namespace of the container's own: any other would change the host.
void CheckSysctl(const Field& field, const std::string& name, std::uint64_t namespaces) {
  static constexpr std::array<std::string_view, 8> kIpc = {"kernel.msgmax", "kernel.msgmnb",         "kernel.msgmni",
                                                           "kernel.sem",    "kernel.shmall",         "kernel.shmmax",
                                                           "kernel.shmmni", "kernel.shm_rmid_forced"};
  if (name.find('/') != std::string::npos || name.find("..") != std::string::npos) field.Refuse("is no sysctl name");
  const bool ipc = std::ranges::find(kIpc, name) != kIpc.end() || name.starts_with("fs.mqueue.");
  if (ipc && (namespaces & CLONE_NEWIPC) != 0) return;
  if (name.starts_with("net.") && (namespaces & CLONE_NEWNET) != 0) return;
  if (name == "kernel.domainname" && (namespaces & CLONE_NEWUTS) != 0) return;
  field.Refuse("would change the host: it does not belong to a namespace of this container");
}

void ParseLinux(const Field& field, Config& config) {
  RefuseUnlessEmpty(field["uidMappings"], "a user namespace");
  RefuseUnlessEmpty(field["gidMappings"], "a user namespace");
  RefuseUnlessEmpty(field["timeOffsets"], "a time namespace");
  RefuseUnlessEmpty(field["resources"], "limiting resources");
  RefuseUnlessEmpty(field["intelRdt"], "Intel RDT");
  RefuseUnlessEmpty(field["memoryPolicy"], "a memory policy");
  RefuseUnlessEmpty(field["netDevices"], "moving network devices");
  RefuseUnlessEmpty(field["personality"], "a personality");
  RefuseUnlessEmpty(field["mountLabel"], "SELinux");

  if (const Field seccomp = field["seccomp"]; seccomp.Present()) {
    config.seccomp = ParseSeccomp(seccomp, NativeArchitecture());
  }
  config.namespaces = ParseNamespaces(field["namespaces"]);
  config.devices = ParseDevices(field["devices"]);
  config.cgroups_path = field["cgroupsPath"].StringOr("");
  const Field propagation = field["rootfsPropagation"];
  const auto flag = Lookup(kPropagations, propagation.StringOr(""));
  if (!flag) propagation.Refuse("must be shared, slave, private or unbindable");
  config.root_propagation = *flag;
  for (const auto& [name, value] : field["sysctl"].Members()) {
    CheckSysctl(value, name, config.namespaces);
    std::string path = "/proc/sys/" + name;
    std::ranges::replace(path.begin() + 10, path.end(), '.', '/');
    config.sysctl.emplace_back(std::move(path), value.String());
  }
  for (const Field& item : field["maskedPaths"].Items()) config.masked_paths.push_back(CleanPath(item.String()));
  for (const Field& item : field["readonlyPaths"].Items()) config.readonly_paths.push_back(CleanPath(item.String()));
}

}  // namespace

std::string CleanPath(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const auto slash = path.find('/');
    const auto part = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  std::string clean;
  for (const auto part : parts) clean.append("/").append(part);
  return clean.empty() ? "/" : clean;
}

Config ParseConfig(std::string_view document) {
  const Json json = ParseJson(document);
  const Field root(&json, "");
  if (json.type != Json::Type::kObject) throw ConfigError("the document must be an object");
  Config config;
  config.oci_version = root["ociVersion"].String();
  if (!config.oci_version.starts_with("1.")) root["ociVersion"].Refuse("must be a version 1.x of the specification");
  RefuseUnlessEmpty(root["vm"], "a virtual machine");
  for (const auto& [name, hooks] : root["hooks"].Members()) RefuseUnlessEmpty(hooks, "running hooks");

  config.root_path = root["root"]["path"].String();
  config.root_readonly = root["root"]["readonly"].BoolOr(false);
  config.mounts = ParseMounts(root["mounts"]);
  config.hostname = root["hostname"].StringOr("");
  config.domainname = root["domainname"].StringOr("");
  for (const auto& [name, value] : root["annotations"].Members()) {
    if (name.empty()) root["annotations"].Refuse("a key must not be empty");
    config.annotations.emplace_back(name, value.String());
  }
  if (!root["linux"].Present()) root["linux"].Refuse("is required");
  ParseLinux(root["linux"], config);
  if (root["process"].Present()) config.process = ParseProcess(root["process"], config.warnings);
  const bool own_names = (config.namespaces & CLONE_NEWUTS) != 0;
  if (!own_names && !config.hostname.empty()) root["hostname"].Refuse("needs a uts namespace");
  if (!own_names && !config.domainname.empty()) root["domainname"].Refuse("needs a uts namespace");
  if (config.hostname.size() > 64) root["hostname"].Refuse("must have at most 64 bytes");
  if (config.domainname.size() > 64) root["domainname"].Refuse("must have at most 64 bytes");
  return config;
}

}  // namespace gantry
