// Lists of CPUs and of memory nodes, as Linux writes them: "0-3,7".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/field.h"

namespace gantry {

/// One bit for each number, as system calls take such a set.
using NumberSet = std::vector<unsigned long>;

inline constexpr unsigned kMostNumbers = 8192;  // what the largest kernels are built for

/// Empty if the property is absent or says nothing. Throws ConfigError.
NumberSet ParseNumberList(const Field& field);
/// The same of a text that `property` has. Throws ConfigError.
NumberSet ParseNumberList(std::string_view text, const std::string& property);

}  // namespace gantry
