// What the launcher does not know exactly it leaves to Node, which does, or says what is wrong: a flag, an odd record,
// a disk's fault.
#pragma once

#include <stdexcept>

namespace gantry {

struct Unclear : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace gantry
