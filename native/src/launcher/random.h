// From the kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace gantry {

std::uint32_t RandomNumber();
/// So many bytes, in lower-case hex.
std::string RandomHex(std::size_t bytes);

}  // namespace gantry
