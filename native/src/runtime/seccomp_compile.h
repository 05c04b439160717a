// A seccomp profile as a program for the kernel's filter machine (classic BPF).
#pragma once

#include <linux/filter.h>

#include <vector>

#include "runtime/seccomp_profile.h"

namespace gantry {

/// The program finds a call by binary search over its number. What it answers:
/// - to a call of an architecture that the profile does not list: it kills the process;
/// - to a call with rules: the action of the first rule, in the profile's order, whose conditions hold; rules without
///   conditions come after those with some, so that the more special one counts; else the default action;
/// - to a call newer than all the profile names (where the default refuses): ENOSYS, as runc does.
/// Pure: the same profile gives the same program. Throws ConfigError if it is longer than the kernel takes.
std::vector<sock_filter> CompileSeccomp(const SeccompProfile& profile);

}  // namespace gantry
