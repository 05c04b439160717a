// To stay with a container that was started here, as client/verbs/verb-attach.ts does: its output is ours, our input
// is its, and signals are passed on, until it has ended, or
// nobody reads what it says.
#pragma once

#include <csignal>
#include <functional>
#include <string>

#include "core/sys.h"
#include "launcher/monitor_link.h"

namespace gantry {

/// Signals that ask a program something wait for who passes them on, from before there is anything they could leave
/// half done. They are as before when it goes: what still waits then does what it does.
class HeldSignals {
 public:
  HeldSignals();
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;
  ~HeldSignals();

  int fd() const { return descriptor_.get(); }
  /// One of them; 0 for none, or one that came of our own writing.
  int Take();

 private:
  sigset_t before_{};
  UniqueFd descriptor_;
};

struct Ended {
  bool is_known = false;  // false: its monitor has gone without a word
  int exit_code = 0;
  bool is_unread = false;  // it goes on: nobody reads what it says any more
};

/// `monitor`: of a container that runs, with its output coming here and its changes told. `folder`: the container's.
Ended StayUntilEnded(MonitorLink& monitor, HeldSignals& signals, const std::string& folder, bool passes_input);

}  // namespace gantry
