// The device nodes and links that every container has, and those that its configuration lists. Child side.
#pragma once

#include "runtime/child.h"

namespace gantry {

/// null, zero, full, random, urandom, tty, ptmx, fd, stdin, stdout, stderr, and console if there is a terminal.
void SetUpDev(const Plan& plan, int root, const Channel& up) noexcept;

/// `linux.devices`.
void MakeDevices(const Plan& plan, int root, const Channel& up) noexcept;

}  // namespace gantry
