// The parent's view of a process that becomes a container's: cloned, heard, answered, signalled, waited for.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/sys.h"
#include "runtime/namespaces.h"
#include "runtime/process_plan.h"
#include "runtime/report.h"

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

/// A namespace to enter, by its descriptor or that of a process in it.
struct NamespaceEntry {
  int fd;
  std::uint64_t types;  // CLONE_NEW*
  int index = 0;        // in linux.namespaces that are joined, for messages
};

/// Where a process is born.
struct Birthplace {
  int cgroup = -1;         // of version 2; none: that of its parent
  int pid_namespace = -1;  // the namespace's file, or a process that is in it; none: a new one, or that of its parent
  /// Has a process moved there, where the kernel does not let us: who is not root may only move within what is his.
  std::function<void(pid_t)> move = {};
};

class ChildProcess {
 public:
  /// Clones with CLONE_* flags. The child calls `become` and never returns. `with_answers`: it will ask for words on
  /// `go`. Throws SysError.
  template <typename Become>
  void Clone(ProcessPlan& plan, std::uint64_t flags, const Birthplace& place, bool with_answers, const Become& become) {
    Prepare(plan, with_answers);
    bool through = place.pid_namespace >= 0 && !MayReturnToPidNamespace();
    if (!through) {
      try {
        const ChildrenInPidNamespace born_there(place.pid_namespace);
        if (Fork(flags, place.cgroup) == 0) become();
      } catch (const SysError& error) {
        if (!place.move || error.code().value() != EACCES) throw;
        through = true;
      }
    }
    if (through && ForkThrough(plan, EntriesOf(place), flags, place) == 0) become();
    CloseChildEnds(plan);
  }
  /// The same for a child that is born in those namespaces, which are entered in that order; what is new belongs to the
  /// user namespace among them. We could not come back from one, so a process in between goes there.
  template <typename Become>
  void CloneThrough(ProcessPlan& plan, const std::vector<NamespaceEntry>& entries, std::uint64_t flags,
                    const Birthplace& place, bool with_answers, const Become& become) {
    Prepare(plan, with_answers);
    if (ForkThrough(plan, entries, flags, place) == 0) become();
    CloseChildEnds(plan);
  }

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  /// Readable when the child has something to say; at its end, exec has happened.
  int status() const { return status_.get(); }

  /// What it says next; nothing when exec has happened, or it has ended. Throws SysError.
  std::optional<Report> Hear() const;
  /// Lets it go on.
  void Answer() const;
  /// Takes the descriptor that it sent with its last report. Throws SysError.
  UniqueFd Take() const;
  void Signal(int signal) const;
  /// Waits for the end. Throws SysError.
  Ending Wait();

 private:
  /// For a process in between, which tells us the number of the other: it must not be in that namespace itself.
  static std::vector<NamespaceEntry> EntriesOf(const Birthplace& place) {
    if (place.pid_namespace < 0) return {};
    return {{place.pid_namespace, CLONE_NEWPID}};
  }
  void Prepare(ProcessPlan& plan, bool with_answers);
  long Fork(std::uint64_t flags, int cgroup);
  long ForkThrough(const ProcessPlan& plan, const std::vector<NamespaceEntry>& entries, std::uint64_t flags,
                   const Birthplace& place);

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd status_;
  UniqueFd go_;
  bool reaped_ = false;
};

}  // namespace gantry
