// The numbers of system calls, by name, for each architecture whose calls a kernel that we run on can be asked for.
// Our own, because the headers of a distribution are older than the kernels that containers meet.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace gantry {

enum class Architecture : std::size_t { kX86_64, kX86, kX32, kAarch64, kArm };
inline constexpr std::size_t kArchitectures = 5;

/// The numbers of one call, in the order of Architecture, as a program of that architecture knows it (for x32 without
/// the bit that marks it); -1 where there is no such call.
using CallNumbers = std::array<int, kArchitectures>;

/// nullptr for a name that is not known.
const CallNumbers* FindSystemCall(std::string_view name);

}  // namespace gantry
