// Where what was installed with the launcher is.
#pragma once

#include <unistd.h>

#include <string>

namespace gantry {

inline bool IsThere(const std::string& path, int how = F_OK) { return ::access(path.c_str(), how) == 0; }

/// The folder of the launcher itself, and of the runtime. Links to it are followed.
std::string OwnFolder();

/// The folder of the package: OwnFolder() is native/build/ of a checkout, or dist/native/build/.
std::string Package();

}  // namespace gantry
