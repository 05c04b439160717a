// The container's first process between clone and exec. System calls only: no allocation, no lock, no exception.
#pragma once

#include "runtime/plan.h"

namespace gantry {

/// The way back to whoever waits for the outcome.
struct Channel {
  int fd;

  /// Reports the step and errno, and ends the process.
  [[noreturn]] void Fail(Step step, int index = 0) const noexcept;
  void Must(bool succeeded, Step step, int index = 0) const noexcept {
    if (!succeeded) Fail(step, index);
  }
};

/// Becomes the container. Returns never.
[[noreturn]] void RunChild(const Plan& plan) noexcept;

}  // namespace gantry
