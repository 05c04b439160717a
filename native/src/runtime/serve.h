// The helper that a Node process drives: orders come over a socket, news go back, and when the owner is gone the
// containers go too, but for what was told to go on.
#pragma once

#include <string>

namespace gantry {

/// Serves until the owner closes the socket. `single`: for one container, whose hooks may hold it up. Throws SysError
/// if that is impossible.
int Serve(int socket, const std::string& state_root, bool single);

}  // namespace gantry
