// Paths inside the container's root, for the child: the kernel resolves each within the root, whatever links an image
// brings. No allocation.
#pragma once

#include <cstdint>

namespace gantry {

/// `path` inside `root` as it is, nothing made. `resolve` adds RESOLVE_* flags. -1 with errno set.
int OpenInside(int root, const char* path, int flags, std::uint64_t resolve = 0) noexcept;

/// A descriptor of `path` inside `root`, making what is missing, also what a dangling symlink names (many images have
/// /etc/resolv.conf as a link into /run). `plain_path`: no symlink may be on the way. -1 with errno set on failure.
int OpenTarget(int root, const char* path, bool directory, bool plain_path) noexcept;

}  // namespace gantry
