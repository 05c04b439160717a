// Overlay mounts of any number of layers: each is named by a short path in /proc/self/fd, wherever the store is.
#pragma once

#include <string>
#include <vector>

namespace gantry {

struct OverlayMount {
  std::vector<std::string> lower;  // folders, the uppermost first; at least one
  std::string upper;
  std::string work;
  std::string target;
  bool lasting;  // false: nothing in it is ever synced
};

/// Throws SysError.
void MountOverlay(const OverlayMount& wanted);

/// False if nothing was mounted there. Detaches at once; what still uses it keeps it alive. Throws SysError.
bool Unmount(const std::string& target);

}  // namespace gantry
