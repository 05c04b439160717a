// One more process in a running container.
#pragma once

#include <sched.h>

#include <memory>
#include <string>

#include "runtime/cgroup_join.h"
#include "runtime/child_process.h"
#include "runtime/config.h"
#include "runtime/process_plan.h"
#include "runtime/state.h"

namespace gantry {

/// The container that another process may run in. Throws StateError.
State FindExecTarget(const StateDirectory& directory, bool ignore_paused);

/// Complete before its child exists, like a container's plan.
struct ExecPlan {
  Config config;                     // of the container, as it was at create
  ProcessConfig process;             // what is to run
  std::string program;               // instead of what args[0] and PATH say; empty: they do
  std::vector<std::string> cgroups;  // to run in, below the container's; empty: those
  ProcessPlan plan;
  UniqueFd target;               // the container's first process (pidfd)
  std::uint64_t namespaces = 0;  // CLONE_NEW*: where it is somewhere else than we are
  CgroupDoor cgroup;
  bool InUserNamespace() const { return (namespaces & CLONE_NEWUSER) != 0; }
};

/// A process in a container; unless Keep is called, it does not survive this object.
class Exec {
 public:
  /// `plan.process` is what to run, `plan.config` the container's. Throws StateError, ConfigError, SysError.
  Exec(const State& state, std::unique_ptr<ExecPlan> plan, const Attachment& attachment);
  ~Exec();
  Exec(const Exec&) = delete;
  Exec& operator=(const Exec&) = delete;

  ExecPlan& plan() { return *plan_; }
  ChildProcess& process() { return process_; }
  /// Until its program runs. Throws ChildError.
  void AwaitOutcome();
  void Keep() { kept_ = true; }

 private:
  State state_;
  std::unique_ptr<ExecPlan> plan_;
  ChildProcess process_;
  bool kept_ = false;
};

}  // namespace gantry
