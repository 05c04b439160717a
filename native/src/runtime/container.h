// A container from its preparation until its first process has become the user's program, or has failed to.
// Whatever happens before Keep, the destructor leaves no process, cgroup or state behind.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/child_process.h"
#include "runtime/plan.h"
#include "runtime/state.h"

namespace gantry {

class Container {
 public:
  /// Clones. Throws ConfigError, StateError, SysError.
  Container(const std::string& state_root, std::unique_ptr<Plan> plan);
  ~Container();
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  const Plan& plan() const { return *plan_; }
  Plan& plan() { return *plan_; }
  ChildProcess& process() { return process_; }
  const ChildProcess& process() const { return process_; }

  /// Reads the child's outcome: ready or running. Throws ChildError if it failed.
  void AwaitOutcome();
  /// Lets the program of one that waits for it start; returns when it runs. Throws ChildError, SysError.
  void Start();
  /// Writes state.json, so that other commands know the container.
  void Record();
  /// The container outlives this object (create, run --detach).
  void Keep();
  /// Removes cgroup and state. Throws SysError.
  void Remove();

 private:
  void MakeCgroup();
  void ApplyLimits() const;
  void Settle();
  void MakeFifos();
  void Clone();
  std::vector<NamespaceEntry> NamespaceEntries() const;
  void RunCreateHooks() const;
  void StartItself();
  State Describe() const;

  StateDirectory directory_;
  std::unique_ptr<Plan> plan_;
  ChildProcess process_;
  bool starts_itself_ = false;
  bool finished_ = false;
};

}  // namespace gantry
