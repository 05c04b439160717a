// A container from its preparation until its first process has become the user's program, or has failed to.
// Whatever happens before Keep, the destructor leaves no process, cgroup or state behind.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "core/sys.h"
#include "runtime/plan.h"
#include "runtime/state.h"

namespace gantry {

/// The child's own failure: its step and errno, and the words for the user.
struct ChildError : std::runtime_error {
  ChildError(std::string failed_step, int failed_error, const std::string& message)
      : std::runtime_error(message), step(std::move(failed_step)), error(failed_error) {}
  std::string step;
  int error;
};

struct Ending {
  bool signaled;
  int value;  // exit code or signal number
  int ShellCode() const { return signaled ? 128 + value : value; }
};

class Container {
 public:
  /// Prepares everything and clones. Throws ConfigError, StateError, SysError.
  Container(const std::string& state_root, const std::string& id, const std::string& bundle,
            const Attachment& attachment);
  ~Container();
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  const Plan& plan() const { return *plan_; }
  Plan& plan() { return *plan_; }
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  /// Readable when the child has something to say; at its end, exec has happened.
  int status() const { return status_.get(); }

  /// Reads the child's outcome: ready or running. Throws ChildError if it failed.
  void AwaitOutcome();
  /// Writes state.json, so that other commands know the container.
  void Record();
  /// The container outlives this object (create, run --detach).
  void Keep();
  void Signal(int signal) const;
  /// Waits for the first process to end.
  Ending Wait();
  /// Removes cgroup and state. Throws SysError.
  void Remove();

 private:
  void MakeFifos();
  void Clone();
  State Describe() const;
  void Answer() const;

  StateDirectory directory_;
  std::unique_ptr<Plan> plan_;
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd status_;
  UniqueFd go_;  // how the child hears that it may go on
  bool reaped_ = false;
  bool finished_ = false;
};

}  // namespace gantry
