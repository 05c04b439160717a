// What the callers of run, create and exec have of a process: its terminal, its pid, its signals.
#pragma once

#include "core/sys.h"
#include "runtime/child_process.h"
#include "runtime/options.h"

namespace gantry {

/// Whether a terminal, if it is wanted, has somebody to go to. Throws UsageError.
void CheckTerminal(const CommandLine& line, bool terminal, bool detached);

/// Whether the descriptors of --preserve-fds are there. Throws UsageError.
void CheckPreservedDescriptors(const CommandLine& line);

/// Gives away what the caller asked for: terminal, pidfd, the file with the pid. Throws SysError.
void HandOver(const CommandLine& line, const ChildProcess& process, UniqueFd& master);

/// The signals that belong to the container rather than to us, readable from a descriptor. Before it is cloned.
UniqueFd TakeSignals();

/// Until the process ends. What it wrote to its terminal (its master, or -1) before is still copied.
Ending Supervise(ChildProcess& process, int master, int signals);

}  // namespace gantry
