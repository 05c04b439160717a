// What exec is to run in a container.
#pragma once

#include <string>

#include "launcher/asked.h"
#include "launcher/store.h"

namespace gantry {

/// `process` of the runtime specification, as a document: the container's own, as it is in its bundle, with what is
/// asked for. Throws an exception where Node may have something else to say.
std::string ExecDocument(const ContainerRecord& record, const ContainerState& state, const Asked& asked);

}  // namespace gantry
