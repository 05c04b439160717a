// Texts for who has called. The C++ library's streams would be half a megabyte of this program, and their set-up a part
// of each of its starts.
#pragma once

#include <string_view>

namespace gantry {

/// To standard output, at once. False if it could not be written, and errno says why: whoever cares may ask.
bool PrintOut(std::string_view text);
/// To standard error.
bool PrintError(std::string_view text);

}  // namespace gantry
