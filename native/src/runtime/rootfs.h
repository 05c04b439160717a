// The container's file system, built by the child: mounts in order, devices, hidden paths, and the change of root.
#pragma once

#include "runtime/child.h"

namespace gantry {

/// After it the process sees nothing of the host's file system; its working directory is the new root.
void EnterRootfs(Plan& plan, const Channel& up) noexcept;

}  // namespace gantry
