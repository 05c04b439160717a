// Handing one descriptor to whoever listens on a unix socket.
#pragma once

#include <string>
#include <string_view>

namespace gantry {

/// Connects, and sends the bytes (at least one) with the descriptor beside the first of them. Bounded in time: a
/// listener that accepts nobody must not hold us, and the container's state, for ever. `what` is for messages. Throws
/// SysError.
void SendDescriptor(const std::string& socket_path, std::string_view bytes, int descriptor, const std::string& what);

}  // namespace gantry
