// Starting the runtime's executable for this process: its own session, an empty environment, one socket.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace gantry {

/// `socket` becomes its descriptor 3; it has nothing else of ours. `words` are its arguments. Throws SysError.
pid_t SpawnRuntime(const std::string& executable, std::vector<std::string> words, int socket);

/// Waits for its end. True if it ended well.
bool AwaitRuntime(pid_t pid);

}  // namespace gantry
