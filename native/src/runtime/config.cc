#include "runtime/config.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>

#include "core/defence.h"
#include "runtime/capabilities.h"
#include "runtime/field.h"
#include "runtime/lookup.h"
#include "runtime/time_namespace.h"

namespace gantry {
namespace {

constexpr std::array<Named<std::uint64_t>, 8> kNamespaces = {{
    {"pid", CLONE_NEWPID},
    {"network", CLONE_NEWNET},
    {"mount", CLONE_NEWNS},
    {"ipc", CLONE_NEWIPC},
    {"uts", CLONE_NEWUTS},
    {"cgroup", CLONE_NEWCGROUP},
    {"user", CLONE_NEWUSER},
    {"time", CLONE_NEWTIME},
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

std::vector<MountConfig> ParseMounts(const Field& field) {
  std::vector<MountConfig> mounts;
  for (const Field& item : field.Items()) {
    MountConfig mount{
        .where = item.path(),
        .destination = CleanPath(item["destination"].String()),
        .type = item["type"].StringOr(""),
        .source = item["source"].StringOr(""),
        .options = item["options"].Strings(),
        .mappings = ParseIdMappings(item),
    };
    const std::string& to = mount.destination;
    if (to == "/") item["destination"].Refuse("must not be the root itself");
    if (to.size() >= 4000) item["destination"].Refuse("is too long");
    if (Has(Defence::kProcIsProc) && to == "/proc" && mount.type != "proc")
      item["destination"].Refuse("only a proc file system belongs on /proc");
    if (to.starts_with("/proc/") && std::ranges::find(kProcOverlays, to) == kProcOverlays.end()) {
      item["destination"].Refuse("nothing may be mounted inside /proc");
    }
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

void ParseNamespaces(const Field& field, Config& config) {
  std::uint64_t seen = 0;
  for (const Field& item : field.Items()) {
    const std::string type = item["type"].String();
    const auto flag = Lookup(kNamespaces, type);
    if (!flag) item["type"].Refuse("a namespace of type " + QuoteJson(type) + " is not supported by this version");
    if ((seen & *flag) != 0) item["type"].Refuse("namespace " + QuoteJson(type) + " is listed twice");
    seen |= *flag;
    const std::string path = item["path"].StringOr("");
    if (path.empty()) {
      config.namespaces |= *flag;
      continue;
    }
    if (*flag == CLONE_NEWNS) item["path"].Refuse("a mount namespace can only be made, not joined");
    if (!path.starts_with('/')) item["path"].Refuse("must be an absolute path");
    config.joined.push_back({.where = item.path(), .type = *flag, .path = path, .fd = UniqueFd()});
  }
  if ((config.namespaces & CLONE_NEWNS) == 0) field.Refuse("must list a mount namespace");
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

void CheckMappings(const Field& field, const Config& config) {
  if (!config.mappings.empty() && !config.Isolates(CLONE_NEWUSER)) {
    field["uidMappings"].Refuse("needs a user namespace in linux.namespaces");
  }
  if ((config.namespaces & CLONE_NEWUSER) == 0) return;
  if (config.mappings.empty()) field["uidMappings"].Refuse("is required for a new user namespace");
  if (!HostId(config.mappings.uids, 0)) field["uidMappings"].Refuse("must map the container's root, containerID 0");
  if (!HostId(config.mappings.gids, 0)) field["gidMappings"].Refuse("must map the container's group 0");
}

/// In a new user namespace there are only the ids that are mapped.
void CheckUser(const Field& user, const Config& config) {
  if ((config.namespaces & CLONE_NEWUSER) == 0) return;
  const ProcessConfig& process = *config.process;
  if (!HostId(config.mappings.uids, process.uid)) user["uid"].Refuse("is not among linux.uidMappings");
  if (!HostId(config.mappings.gids, process.gid)) user["gid"].Refuse("is not among linux.gidMappings");
  for (const std::uint32_t gid : process.additional_gids) {
    if (!HostId(config.mappings.gids, gid))
      user["additionalGids"].Refuse("has one that is not among linux.gidMappings");
  }
}

/// Only settings that belong to a namespace of the container's own: any other would change the host.
void CheckSysctl(const Field& field, const std::string& name, const Config& config) {
  static constexpr std::array<std::string_view, 8> kIpc = {"kernel.msgmax", "kernel.msgmnb",         "kernel.msgmni",
                                                           "kernel.sem",    "kernel.shmall",         "kernel.shmmax",
                                                           "kernel.shmmni", "kernel.shm_rmid_forced"};
  if (name.find('/') != std::string::npos || name.find("..") != std::string::npos) field.Refuse("is no sysctl name");
  const bool ipc = std::ranges::find(kIpc, name) != kIpc.end() || name.starts_with("fs.mqueue.");
  if (ipc && config.Isolates(CLONE_NEWIPC)) return;
  if (name.starts_with("net.") && config.Isolates(CLONE_NEWNET)) return;
  if (name == "kernel.domainname" && config.Isolates(CLONE_NEWUTS)) return;
  field.Refuse("would change the host: it does not belong to a namespace of this container");
}

std::optional<unsigned long> ParsePersonality(const Field& field) {
  if (!field.Present()) return std::nullopt;
  field["flags"].RefuseUnsupported("a flag of a personality");
  const std::string domain = field["domain"].String();
  if (domain != "LINUX" && domain != "LINUX32") field["domain"].Refuse("must be LINUX or LINUX32");
  return domain == "LINUX" ? PER_LINUX : PER_LINUX32;
}

void ParseLinux(const Field& field, Config& config) {
  config.resources = ParseResources(field["resources"]);
  field["intelRdt"].RefuseUnsupported("Intel RDT");
  field["netDevices"].RefuseUnsupported("moving network devices");
  field["mountLabel"].RefuseUnsupported("SELinux");

  if (const Field seccomp = field["seccomp"]; seccomp.Present()) {
    config.seccomp = ParseSeccomp(seccomp, NativeArchitecture());
  }
  ParseNamespaces(field["namespaces"], config);
  config.personality = ParsePersonality(field["personality"]);
  if (const Field policy = field["memoryPolicy"]; policy.Present()) config.memory_policy = ParseMemoryPolicy(policy);
  config.time_offsets = ParseTimeOffsets(field["timeOffsets"]);
  if (!config.time_offsets.empty() && (config.namespaces & CLONE_NEWTIME) == 0) {
    field["timeOffsets"].Refuse("needs a new time namespace in linux.namespaces");
  }
  config.mappings = ParseIdMappings(field);
  CheckMappings(field, config);
  config.devices = ParseDevices(field["devices"]);
  config.cgroups_path = field["cgroupsPath"].StringOr("");
  const Field propagation = field["rootfsPropagation"];
  const auto flag = Lookup(kPropagations, propagation.StringOr(""));
  if (!flag) propagation.Refuse("must be shared, slave, private or unbindable");
  config.root_propagation = *flag;
  for (const auto& [name, value] : field["sysctl"].Members()) {
    CheckSysctl(value, name, config);
    std::string path = "/proc/sys/" + name;
    std::ranges::replace(path.begin() + 10, path.end(), '.', '/');
    config.sysctl.emplace_back(std::move(path), value.String());
  }
  for (const Field& item : field["maskedPaths"].Items()) config.masked_paths.push_back(CleanPath(item.String()));
  for (const Field& item : field["readonlyPaths"].Items()) config.readonly_paths.push_back(CleanPath(item.String()));
}

}  // namespace

bool Config::Isolates(std::uint64_t type) const {
  return (namespaces & type) != 0 || std::ranges::any_of(joined, [&](const auto& each) { return each.type == type; });
}

std::uint64_t Config::GrantableCapabilities() const {
  return Isolates(CLONE_NEWUSER) ? ~std::uint64_t{0} : PermittedCapabilities();
}

void RequireProcess(const Config& config) {
  if (!config.process) throw ConfigError("config.json: process: is required to start a container");
}

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

namespace {

/// "MUST be in SemVer v2.0.0 format" (runtime-spec, "Specification version"), of which all of the first are compatible.
bool IsKnownVersion(std::string_view version) {
  int parts = 0;
  for (; parts < 3; ++parts) {
    const std::size_t digits = std::min(version.find_first_not_of("0123456789"), version.size());
    if (digits == 0 || (digits > 1 && version[0] == '0')) return false;
    if (parts == 0 && version.substr(0, digits) != "1") return false;
    version.remove_prefix(digits);
    if (parts < 2 && !version.starts_with('.')) return false;
    if (parts < 2) version.remove_prefix(1);
  }
  return version.empty() || version[0] == '-' || version[0] == '+';
}

}  // namespace

Config ParseConfig(std::string_view document) {
  const Json json = ParseJson(document);
  const Field root(&json, "");
  if (json.type != Json::Type::kObject) throw ConfigError("the document must be an object");
  Config config;
  config.oci_version = root["ociVersion"].String();
  if (!IsKnownVersion(config.oci_version)) {
    root["ociVersion"].Refuse("must be a version 1.x.y of the specification, not " + QuoteJson(config.oci_version));
  }
  root["vm"].RefuseUnsupported("a virtual machine");
  config.hooks = ParseHooks(root["hooks"]);

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
  if (root["process"].Present()) {
    config.process = ParseProcess(root["process"], config.GrantableCapabilities(), config.warnings);
    CheckUser(root["process"]["user"], config);
    if (config.Isolates(CLONE_NEWUSER) && !config.process->scheduling.Inherited()) {
      root["process"]["scheduler"].Refuse("is one that no child inherits: it cannot be had in a user namespace");
    }
  }
  const bool own_names = config.Isolates(CLONE_NEWUTS);
  if (!own_names && !config.hostname.empty()) root["hostname"].Refuse("needs a uts namespace");
  if (!own_names && !config.domainname.empty()) root["domainname"].Refuse("needs a uts namespace");
  if (config.hostname.size() > 64) root["hostname"].Refuse("must have at most 64 bytes");
  if (config.domainname.size() > 64) root["domainname"].Refuse("must have at most 64 bytes");
  return config;
}

}  // namespace gantry
