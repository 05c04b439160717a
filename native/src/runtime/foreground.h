// What the callers of run, create and exec have of a process: its terminal, its pid, its signals.
#pragma once

#include "core/sys.h"
#include "runtime/child_process.h"
#include "runtime/options.h"

namespace gantry {

/// Whether a terminal, if it is wanted, has somebody to go to, and who leaves it somebody to tell. Throws UsageError.
void CheckTerminal(const CommandLine& line, bool terminal, bool detached);

/// Whether the descriptors of --preserve-fds are there. Throws UsageError.
void CheckPreservedDescriptors(const CommandLine& line);

/// Gives away what the caller asked for: terminal, pidfd, the file with the pid. Throws SysError.
void HandOver(const CommandLine& line, const ChildProcess& process, UniqueFd& master);

/// The signals that belong to the container rather than to us, readable from a descriptor. Before it is cloned.
/// `is_job`: Ctrl-Z is for us, as for any job of a shell.
UniqueFd TakeSignals(bool is_job = false);

/// How a person goes away from a terminal while its program goes on: we stay, hold the terminal, and read it. Whoever
/// started us is told.
struct Leaving {
  bool at_once = false;
  std::string keys;
};

/// Until the process ends. What it wrote to its terminal (its master, or -1) before is still copied.
Ending Supervise(ChildProcess& process, int master, int signals, const Leaving& leaving = {});

}  // namespace gantry
