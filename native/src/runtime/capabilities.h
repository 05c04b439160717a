// Capabilities by name, and putting the five sets into force.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/config.h"

namespace gantry {

/// The bit of "CAP_KILL"; nothing for a name that this build does not know.
std::optional<int> CapabilityBit(std::string_view name);

/// All that this build knows, in the order of their bits.
std::vector<std::string> CapabilityNames();

/// What this process may give: its own permitted set.
std::uint64_t PermittedCapabilities();

/// Child side, before the user changes: shrinks the bounding set. False with errno set on failure.
bool DropBoundingSet(std::uint64_t keep) noexcept;

/// Child side, after the user changed with PR_SET_KEEPCAPS: the other four sets. False with errno set on failure.
bool ApplyCapabilities(const CapabilitySets& sets) noexcept;

}  // namespace gantry
