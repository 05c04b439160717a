// The terminal of a container whose file systems belong to its user namespace: opened by the child, inside.
#pragma once

#include "runtime/process_child.h"

namespace gantry {

/// Opens a terminal of the devpts on /dev/pts of that root, for the user of the process, and gives its master to the
/// parent.
void OpenConsoleInside(ProcessPlan& plan, int root, const Channel& up) noexcept;

}  // namespace gantry
