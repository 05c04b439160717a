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
};

/// Prepares one entry of `mounts`. Relative sources of binds belong to `bundle`. Throws ConfigError, SysError.
MountPlan PrepareMount(const MountConfig& config, const std::string& bundle);

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
