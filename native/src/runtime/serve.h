// The helper of the library: takes orders on a socket, owns the containers it starts, and dies with its owner.
#pragma once

#include <string>

namespace gantry {

/// Serves until the other end of the socket is closed; then kills every container and cleans up. Returns the exit code.
int Serve(int socket, const std::string& state_root);

}  // namespace gantry
