// The end of a container, in the steps and under the locks of `Container.remove` of client/containers/container.ts.
#pragma once

#include <string>

#include "launcher/store.h"

namespace gantry {

/// Leaves nothing of a container, which may be half made, or half gone. For who holds its lock. `name`: empty if it has
/// none. Throws SysError.
void ClearAway(const Store& store, const std::string& id, const std::string& name);

enum class Removed { kYes, kWasGone, kNo };

struct RemovalOptions {
  bool kills = false;    // it may run
  bool volumes = false;  // those without a name, too
};

/// Waits for its lock, and removes it. kNo: it is Node's to do, which can say what is in its way.
Removed RemoveContainer(const Store& store, const std::string& id, RemovalOptions options) noexcept;

}  // namespace gantry
