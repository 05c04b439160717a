// Texts for who has called. The C++ library's streams would be half a megabyte of this program, and their set-up a part
// of each of its starts.
#pragma once

#include <string_view>

namespace gantry {

/// To standard output, at once. Whoever does not read it is no error.
void PrintOut(std::string_view text);
/// To standard error.
void PrintError(std::string_view text);

}  // namespace gantry
