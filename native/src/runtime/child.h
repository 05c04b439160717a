// The container's first process between clone and exec. System calls only: no allocation, no lock, no exception.
#pragma once

#include "runtime/plan.h"
#include "runtime/process_child.h"

namespace gantry {

/// Becomes the container. Returns never.
[[noreturn]] void RunChild(Plan& plan) noexcept;

}  // namespace gantry
