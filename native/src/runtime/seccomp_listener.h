// The supervisor of a filter that notifies: it gets the listener and learns whose it is.
#pragma once

#include "runtime/seccomp_load.h"

namespace gantry {

struct State;

/// Takes the descriptor out of the process, which waits, and sends it to the profile's listenerPath with the "container
/// process state" of the specification. `pid` is the process that the filter is about. Throws SysError.
void SendListener(const SeccompFilter& filter, int pidfd, int descriptor, int pid, const State& container);

}  // namespace gantry
