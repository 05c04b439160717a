// Mounts, through descriptors only. The parent prepares what it may (binds, tmpfs, devpts as detached mounts); the
// child makes what shows its namespaces (proc, sysfs, mqueue, cgroup) and attaches each to a descriptor of its target.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/sys.h"
#include "runtime/config.h"

namespace gantry {

struct MountPlan {
  std::string target;   // absolute, clean, as seen inside
  std::string fs_type;  // what the child makes; empty: `detached` is ready
  UniqueFd detached;
  bool directory = true;         // whether a missing target is made as a directory or as a file
  bool plain_path = false;       // no symlink may be on the way: /proc, /sys, /dev
  bool keep_mode = false;        // a tmpfs takes over the mode of the directory it covers
  bool copy_up = false;          // and begins with what that holds
  std::uint64_t attributes = 0;  // MOUNT_ATTR_* of a file system made by the child
  std::vector<std::pair<std::string, std::string>> parameters;  // and its fsconfig parameters; "" as value: a flag

  bool bind = false;       // with what follows
  std::string source;      // on the host, absolute
  bool recursive = false;  // with what is mounted below
  std::uint64_t set = 0;   // MOUNT_ATTR_* of the bind itself
  std::uint64_t clear = 0;
  std::uint64_t tree_set = 0;  // and of everything below, too
  std::uint64_t tree_clear = 0;
  std::uint64_t propagation = 0;
};

/// Who prepares mounts, and for whom.
struct MountContext {
  std::string bundle;       // what relative sources of binds belong to
  bool privileged = true;   // else the child makes everything
  int user_namespace = -1;  // the container's: its file systems are made in it, and id-mapped mounts may follow it
};

/// Prepares one entry of `mounts`. Throws ConfigError, SysError.
MountPlan PrepareMount(const MountConfig& config, const MountContext& context);

/// Clones the source of a bind into `detached`, with its options. False with errno set on failure; async-signal-safe.
bool CloneBind(MountPlan& plan) noexcept;

/// An empty directory that nobody can write: the superblock itself is read-only. -1 with errno set; async-signal-safe.
int MakeMaskedDirectory() noexcept;

/// The host's /dev/null, proven to be it: a container's own could be a symlink to anything (CVE-2025-31133).
/// Mounted read-only, which still lets it be written but not be changed. -1 with errno set; async-signal-safe.
int CloneNullDevice() noexcept;

/// A recursive, private clone of a directory tree, attached to nothing. -1 with errno set; async-signal-safe.
int CloneTreeAt(const char* path) noexcept;

/// The node of the host with that path, if it is that device. -1 with errno set; async-signal-safe.
int CloneDevice(const char* path, std::uint32_t type, std::uint64_t device) noexcept;

/// The options of mounts that are known by name, in order.
std::vector<std::string> MountOptions();

/// A recursive, private clone of a directory tree, attached to nothing.
UniqueFd CloneTree(const std::string& path);

/// A new file system, mounted and attached to nothing. -1 with errno set on failure; async-signal-safe.
int MakeDetached(const char* type, const std::vector<std::pair<std::string, std::string>>& parameters,
                 std::uint64_t attributes) noexcept;

/// A detached clone of the one mount and file behind a descriptor. -1 with errno set on failure.
int CloneFile(int fd) noexcept;

/// Child side: attaches the detached mount to the target. False with errno set on failure.
bool Attach(int detached, int target) noexcept;

/// mount_setattr(2) on the mount behind a descriptor.
bool SetAttributes(int mount, std::uint64_t set, std::uint64_t clear, std::uint64_t propagation,
                   bool recursive) noexcept;

}  // namespace gantry
