// User namespaces: what linux.uidMappings and linux.gidMappings say, and a namespace that has them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/sys.h"
#include "runtime/field.h"

namespace gantry {

struct IdMapping {
  std::uint32_t container;
  std::uint32_t host;
  std::uint32_t size;
};

struct IdMappings {
  std::vector<IdMapping> uids;
  std::vector<IdMapping> gids;
  bool empty() const { return uids.empty() && gids.empty(); }
};

/// `uidMappings` and `gidMappings` of that object: both or none. Throws ConfigError.
IdMappings ParseIdMappings(const Field& owner);

/// What the container's id is outside; nothing if it is not mapped.
std::optional<std::uint32_t> HostId(const std::vector<IdMapping>& mappings, std::uint32_t id);

/// Whether we may administrate the mounts that we see, which is what root can and who is rootless cannot.
bool IsPrivileged();

/// A new user namespace with these mappings, which nobody is in: by its descriptor it is joined, or maps a mount.
/// Ranges of others are mapped by newuidmap(1) and newgidmap(1) for who is rootless. Throws ConfigError, SysError.
UniqueFd MakeUserNamespace(const IdMappings& mappings);

}  // namespace gantry
