// The runtime must not be reachable from inside: a container that gets hold of /proc/<runtime>/exe could overwrite
// the host's executable (CVE-2019-5736).
#pragma once

namespace gantry {

/// Makes this process non-dumpable and goes on from a read-only clone of the executable (or, where the kernel or file
/// system refuses one, a sealed copy in memory). Returns once it is so. Throws SysError.
void ProtectSelf(char** argv);

}  // namespace gantry
