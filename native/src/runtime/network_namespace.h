// Network namespaces: of a container's own, and made apart from it.
#pragma once

#include "core/sys.h"

namespace gantry {

/// In the namespace of who calls. False with errno set on failure; async-signal-safe.
bool RaiseLoopback() noexcept;

/// A new one with nothing but its loopback, which is up. It lives as long as somebody is in it, or holds this
/// descriptor. Throws SysError.
UniqueFd MakeNetworkNamespace();

}  // namespace gantry
