// What the owner of a helper has asked for, under a ticket of his: a container, or one more process in one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/sys.h"
#include "runtime/child_process.h"
#include "runtime/plan.h"
#include "runtime/protocol.h"

namespace gantry {

class Job {
 public:
  virtual ~Job() = default;
  virtual ChildProcess& process() = 0;
  /// Until its program runs, or waits for Start. Throws ChildError, SysError.
  virtual void AwaitOutcome() = 0;
  /// Throws ChildError, SysError.
  virtual void Start() {}
  virtual bool waits_for_start() const { return false; }
  /// It has ended: what is left of it goes. Throws SysError.
  virtual void Remove() = 0;
  /// The terminal's master, or our ends of its pipes, for the owner: once.
  virtual std::vector<UniqueFd> TakeEnds() = 0;

  bool is_detached = false;    // it goes on without the owner
  std::vector<UniqueFd> held;  // then, and read so that it is not held up
};

/// How a process is to be attached, and what has to live until it is.
class JobAttachment {
 public:
  /// Of a kRun, kCreate or kExec. Throws SysError.
  explicit JobAttachment(Message& message);
  const Attachment& attachment() const { return attachment_; }
  /// Throws SysError: a terminal is configured, and was not asked for, or the other way round.
  void CheckTerminal(bool configured) const;
  std::vector<UniqueFd> TakeEnds() { return std::move(ours_); }

 private:
  bool terminal_;
  Attachment attachment_;
  std::vector<UniqueFd> theirs_;
  std::vector<UniqueFd> ours_;
};

/// Throws ConfigError, StateError, SysError.
std::unique_ptr<Job> RunJob(const std::string& state_root, std::unique_ptr<Plan> plan, JobAttachment attachment);
std::unique_ptr<Job> ExecJob(const std::string& state_root, const Message& message, JobAttachment attachment);

}  // namespace gantry
