// The container's cgroup: one directory in every mounted hierarchy that can be written (v1 controllers, name=systemd,
// v2), made before the container, joined once, removed with everything in it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/sys.h"
#include "runtime/systemd_scope.h"

namespace gantry {

/// A hierarchy of this host, found by where every distribution mounts it.
struct Hierarchy {
  std::string directory;    // "/sys/fs/cgroup/memory"
  std::string controllers;  // "memory", "name=systemd"; empty: version 2
  std::string own;          // the cgroup of the process in it that is asked about, "/" or "/some/where"
  bool unified() const { return controllers.empty(); }
};

/// Of this process, or of another one.
std::vector<Hierarchy> FindHierarchies(pid_t pid = 0);

/// A cgroup being made. Unless Keep is called, the destructor removes it again.
class Cgroup {
 public:
  /// Makes `path` ("/gantry/id") everywhere. Throws SysError; ConfigError if a cgroup of that name has members.
  explicit Cgroup(const std::string& path);
  /// Has systemd make it. Throws ConfigError where the host has not version 2 alone, ChildError.
  explicit Cgroup(const ScopePlan& plan);
  /// None: for a container that stays where its caller is.
  Cgroup() = default;
  ~Cgroup();
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;

  /// The v2 directory for CLONE_INTO_CGROUP, or -1.
  int unified() const { return unified_.get(); }
  /// kJoinFile of each v1 hierarchy: the child joins by writing "0" to each.
  const std::vector<UniqueFd>& joins() const { return joins_; }
  const std::vector<std::string>& directories() const { return directories_; }
  /// Where systemd has made it.
  std::optional<ScopeName> scope() const { return scope_ ? std::optional(scope_->name()) : std::nullopt; }
  /// Whether a process of ours is in it, and counts among its members.
  bool IsHeld() const { return scope_ && scope_->holder() > 0; }
  /// The container is in it.
  void Settle() {
    if (scope_) scope_->Release();
  }
  void Keep() { kept_ = true; }

 private:
  void Make(const Hierarchy& hierarchy, const std::string& path);
  void Open(const Hierarchy& hierarchy, const std::string& directory);

  std::unique_ptr<Scope> scope_;
  std::vector<Hierarchy> hierarchies_;
  std::vector<std::string> directories_;
  std::vector<std::string> made_;  // those of them that were not there before
  UniqueFd unified_;
  std::vector<UniqueFd> joins_;
  bool kept_ = false;
};

/// The path below the mount points that `cgroupsPath` of the configuration means.
std::string CgroupPath(std::string_view configured, std::string_view id);

/// The one of version 2 among a cgroup's directories, or "".
std::string UnifiedDirectory(const std::vector<std::string>& directories);

/// Every member of the cgroup and those below it, as we see them; each once, in order.
std::vector<int> CgroupMembers(const std::vector<std::string>& directories);

/// Signals every member; SIGKILL also reaches those that are born meanwhile, where the kernel can do that. Returns how
/// many there were.
int SignalCgroup(const std::vector<std::string>& directories, int signal);

/// Kills what is left inside, waits (bounded) until it is gone, removes the directories, and the unit that they are of.
/// Throws SysError, ChildError.
void RemoveCgroup(const std::vector<std::string>& directories, const std::optional<ScopeName>& scope);

}  // namespace gantry
