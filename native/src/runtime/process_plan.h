// What it takes to become one process of a container, complete before there is a child: its first one, or one of
// exec's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/sys.h"
#include "runtime/config.h"
#include "runtime/report.h"
#include "runtime/seccomp_load.h"

namespace gantry {

/// How a process is attached to the outside.
struct Attachment {
  int stdio[3] = {0, 1, 2};
  int preserve_fds = 0;  // descriptors 3 … 3+n-1 stay open in the container
  int listening = 0;     // the first of them, which systemd opened (sd_listen_fds(3)): its program is told
  bool die_with_parent = false;
  bool own_keyring = true;
  bool own_cgroup = true;       // otherwise it stays in its caller's
  bool systemd_cgroup = false;  // made by systemd, whatever the configuration calls it
  bool wait_for_start = false;  // create: stop before exec until `start`
};

struct ProcessPlan {
  const ProcessConfig* config = nullptr;  // none: `create` without a program; whoever made the plan owns it
  Attachment attachment;

  std::vector<std::string> programs;  // where to look for args[0], in order
  std::vector<char*> argv;
  std::vector<char*> envp;
  std::string keyring;
  std::string apparmor;  // "exec NAME", for the kernel; "": none
  std::optional<SeccompFilter> seccomp;
  std::optional<unsigned long> personality;
  std::optional<MemoryPolicy> memory_policy;
  bool new_time = false;     // it is the first of a time namespace
  std::string time_offsets;  // whose clocks are so far from the host's

  bool groups_may_stay = false;  // in a user namespace whose maker may not change groups (user_namespaces(7))

  bool console_inside = false;  // the child opens the terminal, since its file system is a namespace's of its own
  UniqueFd console_master;
  UniqueFd console;  // the container's end

  UniqueFd status;      // the child's end of the report pipe
  UniqueFd go;          // where it waits for a word, after a report that asks for one
  UniqueFd start_fifo;  // create only: where `start` sends its byte
  UniqueFd exec_fifo;   // create only: where reports go once `start` was called
};

/// Fills in what follows from both configurations, which must outlive the plan.
void PrepareProcess(ProcessPlan& plan, ProcessConfig& process, const Config& container);

/// A terminal of the devpts file system behind the descriptor, for a process that wants one. Throws SysError.
void PrepareConsole(ProcessPlan& plan, int devpts);

/// The size that is configured, or that of our own terminal.
void SetConsoleSize(const ProcessPlan& plan);

/// A report about a step that is a process's own, in the words that runc, and so docker and podman, use.
std::optional<std::string> DescribeProcess(const ProcessConfig& process, const Report& report);

/// The descriptors that were the child's are closed in the parent: what it waits for ends when the child's copies do.
void CloseChildEnds(ProcessPlan& plan);

}  // namespace gantry
