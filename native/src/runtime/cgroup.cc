#include "runtime/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <memory>

#include "runtime/cgroup_freezer.h"
#include "runtime/cgroup_join.h"
#include "runtime/config.h"
#include "runtime/files.h"

namespace gantry {
namespace {

constexpr const char* kRoot = "/sys/fs/cgroup";
constexpr const char* kOwnParent = "/gantry";
constexpr int kParentAttempts = 100;
constexpr int kRemoveAttempts = 500;  // of 10 ms: a process in an uninterruptible wait must not hang us for ever
constexpr int kMaxNesting = 32;

bool IsMounted(const std::string& directory, long magic) {
  struct statfs fs{};
  return ::statfs(directory.c_str(), &fs) == 0 && fs.f_type == magic;
}

/// A v1 cpuset takes no member until it has cpus and memory nodes: take over the parent's.
void InheritCpuset(const std::string& parent, const std::string& directory) {
  for (const char* name : {"/cpuset.cpus", "/cpuset.mems"}) {
    std::string value = ReadFile(directory + name, 65536);
    if (!value.empty() && value != "\n") continue;
    value = ReadFile(parent + name, 65536);
    const UniqueFd file(::open((directory + name).c_str(), O_WRONLY | O_CLOEXEC));
    if (file.get() < 0 || ::write(file.get(), value.data(), value.size()) < 0) {
      throw SysError(errno, "write " + directory + name);
    }
  }
}

std::vector<pid_t> Members(const std::string& directory) {
  std::vector<pid_t> pids;
  std::string text;
  try {
    text = ReadFile(directory + "/cgroup.procs", 16U << 20);
  } catch (const SysError&) {
    return pids;  // removed meanwhile: no members
  }
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    pid_t pid = 0;
    const auto [rest, error] = std::from_chars(at, end, pid);
    if (error != std::errc()) break;
    if (pid > 0) pids.push_back(pid);
    at = rest + 1;
  }
  return pids;
}

/// Calls `visit` for the directory and every cgroup below it, the deepest first.
template <typename Visit>
void Walk(const std::string& directory, int depth, const Visit& visit) {
  if (depth < kMaxNesting) {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), ::closedir);
    while (stream) {
      const dirent* entry = ::readdir(stream.get());
      if (entry == nullptr) break;
      const std::string_view name = entry->d_name;
      if (entry->d_type == DT_DIR && name != "." && name != "..")
        Walk(directory + "/" + entry->d_name, depth + 1, visit);
    }
  }
  visit(directory);
}

/// "cgroup.kill: … Writing "1" kills the cgroup and all its descendants … concurrent forks are handled" (since 5.14).
void KillAtOnce(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    const UniqueFd file(::open((directory + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
    if (file.get() >= 0 && ::write(file.get(), "1", 1) == 1) return;
  }
}

/// On a host of version 2 alone, a cgroup has the controllers that its parents hand down. One that cannot be had here
/// (a nested host's, or one that has members of its own) is absent below: who asks for a limit is told then.
void HandDownControllers(const std::string& parent) {
  const std::string target = parent + "/cgroup.subtree_control";
  std::string offered;
  std::string enabled;
  try {
    offered = " " + ReadFile(parent + "/cgroup.controllers", 4096);
    enabled = " " + ReadFile(target, 4096);
  } catch (const SysError&) {
    return;  // removed meanwhile, which mkdir will say
  }
  for (std::string* list : {&offered, &enabled}) std::ranges::replace(*list, '\n', ' ');
  std::vector<std::string> missing;
  for (std::size_t start = 1, end = 0; (end = offered.find(' ', start)) != std::string::npos; start = end + 1) {
    const std::string name = offered.substr(start, end - start);
    if (!name.empty() && enabled.find(" " + name + " ") == std::string::npos) missing.push_back("+" + name);
  }
  if (missing.empty()) return;
  const UniqueFd file(::open(target.c_str(), O_WRONLY | O_CLOEXEC));
  for (const std::string& name : missing) {
    if (file.get() >= 0 && ::write(file.get(), name.data(), name.size()) < 0) continue;
  }
}

bool Remove(const std::string& directory) {
  if (::rmdir(directory.c_str()) == 0 || errno == ENOENT) return true;
  Walk(directory, 0, [](const std::string& each) { ::rmdir(each.c_str()); });
  return ::access(directory.c_str(), F_OK) != 0 && errno == ENOENT;
}

/// The parent that we make for containers without a configured path goes with the last of them.
void RemoveOwnParents(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    const std::string parent = directory.substr(0, directory.rfind('/'));
    if (parent.ends_with(kOwnParent)) ::rmdir(parent.c_str());  // fails while there are others
  }
}

}  // namespace

std::vector<Hierarchy> FindHierarchies(pid_t pid) {
  std::vector<Hierarchy> found;
  const std::string process = pid == 0 ? "self" : std::to_string(pid);
  const std::string text = ReadFile("/proc/" + process + "/cgroup", 65536);
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    Hierarchy hierarchy{.directory = "",
                        .controllers = std::string(line.substr(first + 1, second - first - 1)),
                        .own = std::string(line.substr(second + 1))};
    if (hierarchy.unified()) {
      for (const char* directory : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
        if (IsMounted(directory, CGROUP2_SUPER_MAGIC)) hierarchy.directory = directory;
      }
    } else {
      const bool named = hierarchy.controllers.starts_with("name=");
      hierarchy.directory = std::string(kRoot) + "/" + hierarchy.controllers.substr(named ? 5 : 0);
      if (!IsMounted(hierarchy.directory, CGROUP_SUPER_MAGIC)) hierarchy.directory.clear();
    }
    if (!hierarchy.directory.empty()) found.push_back(std::move(hierarchy));
  }
  return found;
}

std::string CgroupPath(std::string_view configured, std::string_view id) {
  if (configured.empty()) return std::string(kOwnParent) + "/" + std::string(id);
  const std::string path = CleanPath(configured);
  if (path == "/") throw ConfigError("config.json: linux.cgroupsPath: must not be the root of the hierarchies");
  return configured.starts_with('/') ? path : kOwnParent + path;
}

Cgroup::Cgroup(const std::string& path) : hierarchies_(FindHierarchies()) {
  try {
    for (const Hierarchy& hierarchy : hierarchies_) Make(hierarchy, path);
  } catch (...) {
    for (const std::string& directory : made_) ::rmdir(directory.c_str());
    RemoveOwnParents(directories_);
    throw;
  }
}

Cgroup::Cgroup(const ScopePlan& plan) : hierarchies_(FindHierarchies()) {
  if (hierarchies_.size() != 1 || !hierarchies_.front().unified()) {
    throw ConfigError(
        "linux.cgroupsPath: systemd's driver takes a host with cgroup version 2 alone, which this is not: use the "
        "cgroupfs driver");
  }
  scope_ = std::make_unique<Scope>(plan);
  hierarchies_ = FindHierarchies(scope_->holder());
  const auto& [mount, controllers, path] = hierarchies_.at(0);
  if (!path.ends_with("/" + plan.name.unit) || path.find("/../") != std::string::npos) {
    throw SysError(EXDEV, "find " + plan.name.unit + " among the cgroups that are seen here (it is " + path + ")");
  }
  // systemd hands down what it knows of alone: neither huge pages nor rdma.
  for (std::size_t end = 0; end != std::string::npos; end = path.find('/', end + 1)) {
    HandDownControllers(mount + path.substr(0, end));
  }
  directories_.push_back(mount + path);
  Open(hierarchies_.front(), directories_.front());
}

Cgroup::~Cgroup() {
  if (kept_) return;
  Settle();
  try {
    RemoveCgroup(directories_, scope());
  } catch (const std::exception&) {
    // The failure that brought us here is the news.
  }
}

void Cgroup::Make(const Hierarchy& hierarchy, const std::string& path) {
  const bool cpuset = ("," + hierarchy.controllers + ",").find(",cpuset,") != std::string::npos;
  const std::string directory = hierarchy.directory + path;
  bool made = false;
  int lost = 0;
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string each = hierarchy.directory + path.substr(0, end);
    if (hierarchies_.size() == 1 && hierarchy.unified()) HandDownControllers(each.substr(0, each.rfind('/')));
    made = ::mkdir(each.c_str(), 0755) == 0;
    if (!made && errno == ENOENT && ++lost < kParentAttempts) {  // the last container of our parent went just now
      end = 0;
      continue;
    }
    if (!made && (errno == EROFS || errno == EACCES || errno == EPERM)) return;  // not ours to manage
    if (!made && errno != EEXIST) throw SysError(errno, "make the cgroup " + each);
    try {
      if (cpuset) InheritCpuset(each.substr(0, each.rfind('/')), each);
    } catch (const SysError& error) {
      if (error.code().value() == EACCES) return;  // nor is this: whose it is hides it, by his umask
      const bool gone = error.code().value() == ENOENT || error.code().value() == ENODEV;
      if (!gone || ++lost >= kParentAttempts) throw;
      end = 0;  // as above, but after we saw it
      continue;
    }
    if (end == std::string::npos) break;
  }
  if (!made && !Members(directory).empty()) {
    throw ConfigError("config.json: linux.cgroupsPath: the cgroup " + directory + " has members already");
  }
  if (!made && IsFrozen({directory})) {  // whoever is born there never comes to say that he is
    throw ConfigError("config.json: linux.cgroupsPath: the cgroup " + directory + " is frozen: thaw it first");
  }
  directories_.push_back(directory);
  if (made) made_.push_back(directory);
  Open(hierarchy, directory);
}

void Cgroup::Open(const Hierarchy& hierarchy, const std::string& directory) {
  const std::string target = hierarchy.unified() ? directory : directory + "/" + kJoinFile;
  const int flags = hierarchy.unified() ? O_RDONLY | O_DIRECTORY | O_CLOEXEC : O_WRONLY | O_CLOEXEC;
  const std::string step = "open " + target;
  UniqueFd opened(checked(step.c_str(), [&] { return ::open(target.c_str(), flags); }));
  if (hierarchy.unified()) {
    unified_ = std::move(opened);
  } else {
    joins_.push_back(std::move(opened));
  }
}

std::string UnifiedDirectory(const std::vector<std::string>& directories) {
  const auto found = std::ranges::find_if(
      directories, [](const std::string& directory) { return IsMounted(directory, CGROUP2_SUPER_MAGIC); });
  return found == directories.end() ? "" : *found;
}

std::vector<int> CgroupMembers(const std::vector<std::string>& directories) {
  std::vector<pid_t> members;
  for (const std::string& directory : directories) {
    Walk(directory, 0, [&](const std::string& each) {
      for (const pid_t pid : Members(each)) members.push_back(pid);
    });
  }
  std::ranges::sort(members);
  const auto duplicates = std::ranges::unique(members);
  members.erase(duplicates.begin(), duplicates.end());
  return members;
}

int SignalCgroup(const std::vector<std::string>& directories, int signal) {
  const std::vector<pid_t> members = CgroupMembers(directories);
  if (signal == SIGKILL) KillAtOnce(directories);
  for (const pid_t pid : members) ::kill(pid, signal);
  return static_cast<int>(members.size());
}

void RemoveCgroup(const std::vector<std::string>& directories, const std::optional<ScopeName>& scope) {
  for (int attempt = 0;; ++attempt) {
    bool gone = true;
    for (const std::string& directory : directories) gone = Remove(directory) && gone;
    if (gone) break;
    if (attempt == kRemoveAttempts) throw SysError(EBUSY, "remove the cgroup " + directories.front());
    if (SignalCgroup(directories, SIGKILL) > 0 || attempt > 3) ::poll(nullptr, 0, attempt < 10 ? 1 : 10);
  }
  RemoveOwnParents(directories);
  if (scope) RemoveScope(*scope);
}

}  // namespace gantry
