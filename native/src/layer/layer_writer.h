// Applies one layer's entries to a folder of its own, in the form that overlayfs reads. A layer is hostile input: every
// path is resolved by the kernel beneath the folder, through descriptors, and nothing outside of it can be reached.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/sys.h"
#include "layer/layer_files.h"

namespace gantry {

/// All methods throw SysError, whose step names the entry. Not for several threads at once.
class LayerWriter {
 public:
  /// `folder` exists and is empty.
  explicit LayerWriter(const std::string& folder);

  /// Merges with a directory that is there and replaces its attributes, which are set at the end.
  void Directory(const std::string& path, Attributes attributes);
  void Symlink(const std::string& path, const std::string& target, const Attributes& attributes);
  /// A target that is not in this layer is looked for in the layers below, by CompleteAgainst.
  void Hardlink(const std::string& path, const std::string& target);
  /// `kind` is S_IFCHR, S_IFBLK or S_IFIFO. In a user namespace devices are left out.
  void Node(const std::string& path, mode_t kind, unsigned major, unsigned minor, const Attributes& attributes);
  /// An empty one. Whoever holds it fills it and then gives it its attributes, whatever becomes of its name meanwhile.
  UniqueFd File(const std::string& path, mode_t mode);
  /// Hides what the layers below have there; never what this layer brings, whatever the order.
  void Whiteout(const std::string& path);
  void Opaque(const std::string& path);

  /// Sets the attributes of directories and makes everything durable. True if CompleteAgainst is needed.
  bool Finish();
  /// Gives directories that were only implied the attributes that they have below, and completes hard links to files
  /// below by copying those up. `lowers`: folders of layers, the uppermost first.
  void CompleteAgainst(const std::vector<std::string>& lowers);

 private:
  struct Place {
    std::shared_ptr<const UniqueFd> folder;
    std::string name;

    int parent() const noexcept { return folder->get(); }
  };

  struct Made {
    ino_t inode = 0;  ///< tells whether something else took its place
    Attributes attributes;
  };

  Place PlaceOf(const std::string& path, const std::string& doing);
  UniqueFd OpenFolder(const std::string& path, const std::string& doing);
  UniqueFd MakeFolder(const std::string& path, const std::string& doing);
  int Resolve(const std::string& path, std::uint64_t flags) const noexcept;
  std::string PathOf(int folder, const std::string& asked) const;
  std::string PathOf(const Place& place, const std::string& asked) const;
  std::string PathBelow(const std::string& target, const std::string& doing) const;
  bool ClearWay(const Place& place, const std::string& doing);
  void MarkOpaque(int folder, const std::string& path, const std::string& doing);
  bool TryLink(const std::string& path, const std::string& target, const std::string& doing);
  void ForgetLinks(const Place& place, const std::string& asked);
  bool Hides(const std::string& path) const;
  void SetDirectoryAttributes();
  void HideRoots(const std::vector<UniqueFd>& lowers);
  void CopyUp(const std::string& path, int lower_parent, const std::string& name, const struct stat& status);

  UniqueFd root_;
  std::map<std::string, Made> directories_;
  std::set<std::string> implied_;
  std::set<std::string> opaque_;
  std::set<std::string> whiteouts_;
  std::map<std::string, std::string> lower_links_;
  // The parent of the last entry, which most likely is that of the next. Forgotten when anything is removed.
  std::string last_parent_;
  std::shared_ptr<const UniqueFd> last_folder_;
};

}  // namespace gantry
