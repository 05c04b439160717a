// What a process that waits for days need not keep resident.
#pragma once

namespace gantry {

/// Gives back what the allocator has free, and lets go of code and constants, which come back from the page cache when
/// they are needed.
void ReleaseMemory();

}  // namespace gantry
