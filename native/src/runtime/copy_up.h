// What a directory holds, copied into the tmpfs that is about to cover it (the mount option tmpcopyup).
#pragma once

namespace gantry {

/// Copies directories, regular files, symlinks and fifos with their modes and owners; no devices or sockets. Only
/// system calls. False with errno set on failure; ELOOP for what is nested deeper than 32 directories.
bool CopyUp(int from, int to) noexcept;

}  // namespace gantry
