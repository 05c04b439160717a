#include "launcher/package.h"

#include <array>
#include <climits>
#include <stdexcept>

#include "core/sys.h"

namespace gantry {

std::string OwnFolder() {
  std::array<char, PATH_MAX> self{};
  checked("find the command's own file in /proc",
          [&] { return ::readlink("/proc/self/exe", self.data(), self.size() - 1); });
  const std::string file = self.data();
  return file.substr(0, file.rfind('/'));
}

std::string Package() {
  const std::string folder = OwnFolder();
  for (const char* up : {"/../..", "/../../.."}) {
    if (IsThere(folder + up + "/client/gantry.mjs")) return folder + up;
  }
  throw std::runtime_error("the package around " + folder +
                           " is not whole: client/gantry.mjs is missing; install it again");
}

}  // namespace gantry
