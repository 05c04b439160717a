#include "runtime/mounts.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

// From <sys/mount.h>, which cannot be included together with <linux/mount.h>.
#ifndef MS_PRIVATE
#define MS_UNBINDABLE (1 << 17)
#define MS_PRIVATE (1 << 18)
#define MS_SLAVE (1 << 19)
#define MS_SHARED (1 << 20)
#endif

namespace gantry {
namespace {

/// What an option does to a mount: bits to set, bits to clear.
struct Attribute {
  std::string_view name;
  std::uint64_t set;
  std::uint64_t clear;
};

constexpr std::uint64_t kAtime = MOUNT_ATTR__ATIME;
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

constexpr std::array<Attribute, 18> kAttributes = {{
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"noatime", MOUNT_ATTR_NOATIME, kAtime},
    {"atime", MOUNT_ATTR_RELATIME, kAtime},
    {"relatime", MOUNT_ATTR_RELATIME, kAtime},
    {"norelatime", MOUNT_ATTR_STRICTATIME, kAtime},
    {"strictatime", MOUNT_ATTR_STRICTATIME, kAtime},
    {"nostrictatime", MOUNT_ATTR_RELATIME, kAtime},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
}};

struct Propagation {
  std::string_view name;
  std::uint64_t flag;
};

constexpr std::array<Propagation, 8> kPropagations = {{
    {"private", MS_PRIVATE},
    {"rprivate", MS_PRIVATE},
    {"slave", MS_SLAVE},
    {"rslave", MS_SLAVE},
    {"shared", MS_SHARED},
    {"rshared", MS_SHARED},
    {"unbindable", MS_UNBINDABLE},
    {"runbindable", MS_UNBINDABLE},
}};

constexpr std::array<std::string_view, 4> kSuperblockFlags = {"sync", "dirsync", "lazytime", "mand"};
constexpr std::array<std::string_view, 8> kNothingToDo = {"defaults",   "async",  "nolazytime", "nomand",
                                                          "noiversion", "silent", "loud",       "bind"};
constexpr std::array<std::string_view, 5> kRefused = {"remount", "iversion", "copy-symlink", "src-nofollow",
                                                      "dest-nofollow"};

// Made before main: the child must not allocate.
const std::vector<std::pair<std::string, std::string>> kMaskedParameters = {
    {"ro", ""}, {"mode", "555"}, {"size", "4k"}};

struct Options {
  bool bind = false;
  bool recursive_bind = false;
  bool copy_up = false;
  bool idmap = false;
  bool recursive_idmap = false;
  std::uint64_t set = 0;
  std::uint64_t clear = 0;
  std::uint64_t tree_set = 0;  // the recursive forms: rro, rnosuid, …
  std::uint64_t tree_clear = 0;
  std::uint64_t propagation = MS_PRIVATE;  // unless asked otherwise, nothing travels between host and container
  std::vector<std::pair<std::string, std::string>> parameters;
};

void Change(std::uint64_t& set, std::uint64_t& clear, const Attribute& attribute) {
  set = (set & ~attribute.clear) | attribute.set;
  clear = (clear & ~attribute.set) | attribute.clear;
}

template <typename List>
bool Contains(const List& list, std::string_view name) {
  return std::ranges::find(list, name) != list.end();
}

const Attribute* FindAttribute(std::string_view name) {
  const auto found = std::ranges::find(kAttributes, name, &Attribute::name);
  return found == kAttributes.end() ? nullptr : &*found;
}

Options ParseOptions(const MountConfig& config) {
  Options options;
  options.bind = config.type == "bind";
  options.idmap = !config.mappings.empty();
  for (std::size_t i = 0; i < config.options.size(); ++i) {
    const std::string& option = config.options[i];
    if (option == "bind" || option == "rbind") {
      options.bind = true;
      options.recursive_bind = options.recursive_bind || option == "rbind";
    } else if (option == "tmpcopyup") {
      if (config.type != "tmpfs") {
        throw ConfigError(config.where + ".options[" + std::to_string(i) + "]: tmpcopyup is for a tmpfs only");
      }
      options.copy_up = true;
    } else if (option == "idmap" || option == "ridmap") {
      options.idmap = true;
      options.recursive_idmap = option == "ridmap";
    } else if (Contains(kNothingToDo, option)) {
      continue;
    } else if (Contains(kRefused, option)) {
      throw ConfigError(config.where + ".options[" + std::to_string(i) + "]: " + option +
                        " is not supported by this version");
    } else if (const Attribute* attribute = FindAttribute(option)) {
      Change(options.set, options.clear, *attribute);
    } else if (const auto found = std::ranges::find(kPropagations, option, &Propagation::name);
               found != kPropagations.end()) {
      options.propagation = found->flag;
    } else if (const Attribute* tree = option.starts_with('r') ? FindAttribute(option.substr(1)) : nullptr) {
      Change(options.tree_set, options.tree_clear, *tree);
    } else if (Contains(kSuperblockFlags, option)) {
      options.parameters.emplace_back(option, "");
    } else if (!option.empty()) {
      const auto equals = option.find('=');
      const bool flag = equals == std::string::npos;
      options.parameters.emplace_back(option.substr(0, equals), flag ? "" : option.substr(equals + 1));
    }
  }
  return options;
}

/// Files of the mount appear with the owners that the mapping gives them: the mount's own, else the container's.
void MapOwners(const MountConfig& config, const Options& options, const MountContext& context, int mount) {
  const bool own = !config.mappings.empty();
  if (!own && context.user_namespace < 0) {
    throw ConfigError(config.where + ".options: idmap needs uidMappings and gidMappings, or a user namespace");
  }
  if (!context.privileged) {
    throw ConfigError(config.where + ": an id-mapped mount can only be made by root");
  }
  const UniqueFd made = own ? MakeUserNamespace(config.mappings) : UniqueFd();
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<std::uint64_t>(own ? made.get() : context.user_namespace);
  const unsigned flags = AT_EMPTY_PATH | (options.recursive_idmap ? AT_RECURSIVE : 0);
  const std::string step = config.where + ": map the owners of " + config.source;
  checked(step.c_str(), [&] { return ::syscall(SYS_mount_setattr, mount, "", flags, &attributes, sizeof attributes); });
}

void PrepareBind(const MountConfig& config, const Options& options, const MountContext& context, MountPlan& plan) {
  if (config.source.empty()) throw ConfigError(config.where + ".source: is required for a bind mount");
  plan.bind = true;
  plan.source = config.source.starts_with('/') ? config.source : context.bundle + "/" + config.source;
  plan.recursive = options.recursive_bind;
  plan.set = options.set;
  plan.clear = options.clear;
  plan.tree_set = options.tree_set;
  plan.tree_clear = options.tree_clear;
  plan.propagation = options.propagation;
  if (context.privileged && !CloneBind(plan)) {
    throw SysError(errno, plan.detached.get() < 0 ? config.where + ": open the source " + plan.source
                                                  : config.where + ": set the options of " + config.destination);
  }
  if (options.idmap) MapOwners(config, options, context, plan.detached.get());
}

/// The file systems that show the namespaces of whoever opens them.
bool MadeByChild(std::string_view type) {
  return type == "proc" || type == "sysfs" || type == "mqueue" || type == "cgroup" || type == "cgroup2";
}

}  // namespace

MountPlan PrepareMount(const MountConfig& config, const MountContext& context) {
  Options options = ParseOptions(config);
  MountPlan plan;
  plan.target = config.destination;
  plan.plain_path = plan.target == "/proc" || plan.target == "/sys" || plan.target == "/dev" || config.type == "proc" ||
                    config.type == "sysfs";
  if (options.bind) {
    PrepareBind(config, options, context, plan);
    return plan;
  }
  if (config.type.empty()) throw ConfigError(config.where + ".type: is required unless the mount is a bind");
  plan.attributes = options.set | options.tree_set;
  plan.copy_up = options.copy_up;
  plan.parameters = std::move(options.parameters);
  if (!config.source.empty() && config.type != "cgroup") plan.parameters.emplace_back("source", config.source);
  plan.keep_mode = config.type == "tmpfs" && std::ranges::none_of(plan.parameters, [](const auto& parameter) {
                     return parameter.first == "mode";
                   });
  if (config.type == "devpts" &&
      std::ranges::none_of(plan.parameters, [](const auto& parameter) { return parameter.first == "newinstance"; })) {
    plan.parameters.emplace_back("newinstance", "");
  }
  if (options.idmap) throw ConfigError(config.where + ": only a bind mount can be id-mapped");
  // What is made in a user namespace belongs to it, so that the container's root may change it.
  if (MadeByChild(config.type) || context.user_namespace >= 0) {
    plan.fs_type = config.type;
    return plan;
  }
  plan.detached = UniqueFd(MakeDetached(config.type.c_str(), plan.parameters, plan.attributes));
  if (plan.detached.get() < 0) {
    throw SysError(errno, config.where + ": make a file system of type " + config.type + " for " + config.destination);
  }
  return plan;
}

std::vector<std::string> MountOptions() {
  std::vector<std::string> names = {"rbind", "idmap", "ridmap", "tmpcopyup"};
  for (const Attribute& each : kAttributes) {
    names.emplace_back(each.name);
    names.push_back("r" + std::string(each.name));
  }
  for (const Propagation& each : kPropagations) names.emplace_back(each.name);
  for (const auto each : kSuperblockFlags) names.emplace_back(each);
  for (const auto each : kNothingToDo) names.emplace_back(each);
  std::ranges::sort(names);
  const auto twice = std::ranges::unique(names);
  names.erase(twice.begin(), twice.end());
  return names;
}

UniqueFd CloneTree(const std::string& path) {
  const std::string step = "open the root file system " + path;
  UniqueFd tree(CloneTreeAt(path.c_str()));
  struct stat status{};
  if (tree.get() < 0 || ::fstat(tree.get(), &status) != 0) throw SysError(errno, step);
  if (!S_ISDIR(status.st_mode)) throw SysError(ENOTDIR, step);
  return tree;
}

int CloneTreeAt(const char* path) noexcept {
  const int tree =
      static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  return tree >= 0 && SetAttributes(tree, 0, 0, MS_PRIVATE, true) ? tree : -1;
}

bool CloneBind(MountPlan& plan) noexcept {
  const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (plan.recursive ? AT_RECURSIVE : 0);
  int tree = -1;
  do {
    tree = static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, plan.source.c_str(), flags));
  } while (tree < 0 && errno == EINTR);
  struct stat status{};
  if (tree < 0) return false;
  plan.detached = UniqueFd(tree);
  if (::fstat(tree, &status) != 0) return false;
  plan.directory = S_ISDIR(status.st_mode);
  return SetAttributes(tree, 0, 0, plan.propagation, true) &&
         ((plan.tree_set | plan.tree_clear) == 0 || SetAttributes(tree, plan.tree_set, plan.tree_clear, 0, true)) &&
         ((plan.set | plan.clear) == 0 || SetAttributes(tree, plan.set, plan.clear, 0, false));
}

int MakeMaskedDirectory() noexcept {
  return MakeDetached("tmpfs", kMaskedParameters,
                      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

int CloneDevice(const char* path, std::uint32_t type, std::uint64_t device) noexcept {
  const int clone = static_cast<int>(
      ::syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW));
  struct stat status{};
  if (clone < 0 || ::fstat(clone, &status) != 0) return -1;
  if ((status.st_mode & S_IFMT) == type && status.st_rdev == device) return clone;
  ::close(clone);
  errno = ENODEV;
  return -1;
}

int CloneNullDevice() noexcept {
  const int mount = CloneDevice("/dev/null", S_IFCHR, ::makedev(1, 3));
  return mount >= 0 && SetAttributes(mount, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0, 0, false)
             ? mount
             : -1;
}

int CloneFile(int fd) noexcept {
  return static_cast<int>(::syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
}

int MakeDetached(const char* type, const std::vector<std::pair<std::string, std::string>>& parameters,
                 std::uint64_t attributes) noexcept {
  const int context = static_cast<int>(::syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
  if (context < 0) return -1;
  int mount = -1;
  long result = 0;
  for (const auto& [key, value] : parameters) {
    const bool flag = value.empty();
    result = ::syscall(SYS_fsconfig, context, flag ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, key.c_str(),
                       flag ? nullptr : value.c_str(), 0);
    if (result != 0) break;
  }
  if (result == 0) result = ::syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  if (result == 0) mount = static_cast<int>(::syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes));
  const int error = errno;
  ::close(context);
  errno = error;
  return mount;
}

bool Attach(int detached, int target) noexcept {
  return ::syscall(SYS_move_mount, detached, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
}

bool SetAttributes(int mount, std::uint64_t set, std::uint64_t clear, std::uint64_t propagation,
                   bool recursive) noexcept {
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.attr_clr = clear | ((set & kAtime) != 0 ? kAtime : 0);
  attributes.propagation = propagation;
  return ::syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attributes,
                   sizeof attributes) == 0;
}

}  // namespace gantry
