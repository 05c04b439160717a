#pragma once

#include <stdexcept>

namespace gantry {

/// A refusal of the caller's input; the message names the property and what would be right.
struct ConfigError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace gantry
