// What a file remembers of its last verification: an extended attribute that says of which file it was set, by inode,
// size and time of the last change of its bytes. It goes where the file goes, through renames and restarts, and means
// nothing on a copy, or once the bytes were written to.
#pragma once

#include <string>

namespace gantry {

/// Every byte of the open file was hashed, and is that of `name`. Cheap, not synced; false where the filesystem keeps
/// no such marks, or takes none now.
bool SetVerifiedMark(int file, const std::string& name) noexcept;

/// Whether it was set of this open file, as it is, under this name.
bool HasVerifiedMark(int file, const std::string& name);

}  // namespace gantry
