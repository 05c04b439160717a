// The user namespace, and with it the mounts, that all commands of one ordinary user share.
#pragma once

#include <optional>
#include <string>

#include "core/sys.h"
#include "runtime/user_namespace.h"

namespace gantry {

/// What a process has to enter, in this order.
struct NamespaceDoors {
  UniqueFd user;
  UniqueFd mount;
};

/// Held while somebody enters or leaves; in the user's own folder.
UniqueFd LockNamespaces(int folder);

/// Those that a living holder keeps; nothing if there are none, or they are not ours. With the lock.
std::optional<NamespaceDoors> FindNamespaces(int folder);

/// New ones, and a process of their own that keeps them while there are others in them, and leaves when it has been
/// alone for a while. With the lock. Throws ConfigError, SysError.
NamespaceDoors MakeNamespaces(int folder, const IdMappings& mappings);

}  // namespace gantry
