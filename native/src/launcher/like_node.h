// What a program gets of us it got of Node, where Node starts it.
#pragma once

namespace gantry {

/// Files for the standard streams, as many descriptors as there may be, and children that are waited for, whatever who
/// has started us ignores. Throws SysError.
void BeLikeNode();

}  // namespace gantry
