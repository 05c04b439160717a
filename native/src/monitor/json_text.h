// Bytes of unknown origin inside of a JSON string.
#pragma once

#include <string>
#include <string_view>

namespace gantry {

/// Appends `text` as the inside of a JSON string, without quotes. Programs write anything: what is not UTF-8 becomes
/// U+FFFD, as docker has it.
void AppendJsonText(std::string& out, std::string_view text);

}  // namespace gantry
