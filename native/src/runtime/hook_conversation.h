// What passes between us and a hook that runs: it is told the state, it says something, and it may take too long.
#pragma once

#include <optional>
#include <string>

#include "core/sys.h"
#include "runtime/pipe.h"

namespace gantry {

class HookConversation {
 public:
  /// `process` is its pidfd; `input` and `output` are our ends of its standard input, and of its output and errors.
  HookConversation(int process, UniqueFd input, UniqueFd output, std::string state, std::optional<int> timeout_seconds);

  /// Until the process has ended (true), or its time is over (false). Throws SysError.
  bool Await();
  /// ", output: …" with the beginning of what it said; empty if it was silent.
  std::string Said() const;

 private:
  void Tell();
  void Listen();

  int process_;
  UniqueFd input_;
  UniqueFd output_;
  std::string state_;
  std::string said_;
  std::optional<int> timeout_seconds_;
};

}  // namespace gantry
