#include "layer/layer_packer.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <climits>
#include <string_view>
#include <utility>
#include <vector>

#include "core/sys.h"
#include "layer/layer_files.h"

namespace gantry {
namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr const char* kOpaque = ".wh..wh..opq";
constexpr std::string_view kOverlays[] = {"trusted.overlay.", "user.overlay."};
/// A descriptor each.
constexpr int kDeepest = 1024;
constexpr std::size_t kChunkBytes = 256 * 1024;

/// What overlayfs and the host's security have written there is not the container's.
bool BelongsToHost(const std::string& attribute) {
  const auto begins = [&](std::string_view prefix) { return attribute.starts_with(prefix); };
  return std::ranges::any_of(kOverlays, begins) || attribute == "security.selinux";
}

/// Takes the host's attributes away; true if what lies below the directory is hidden.
bool TakeOverlayAttributes(Attributes& attributes, const std::string& path) {
  bool is_opaque = false;
  for (const auto& [name, value] : attributes.xattrs) {
    if (name == OpaqueAttribute() && value == "y") is_opaque = true;
    if (name == "trusted.overlay.redirect" || name == "trusted.overlay.metacopy") {
      throw LayerError(
          Quoted(path) +
          ": only a part of it is in the container's own layer, because overlayfs runs with redirect_dir or "
          "metacopy on this host; switch them off in /sys/module/overlay/parameters, and make it again");
    }
  }
  std::erase_if(attributes.xattrs, [](const auto& each) { return BelongsToHost(each.first); });
  return is_opaque;
}

TarType TypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return TarType::kDirectory;
    case S_IFLNK:
      return TarType::kSymlink;
    case S_IFCHR:
      return TarType::kCharacterDevice;
    case S_IFBLK:
      return TarType::kBlockDevice;
    case S_IFIFO:
      return TarType::kFifo;
    default:
      return TarType::kFile;
  }
}

std::string TargetOf(int parent, const std::string& name, const std::string& doing) {
  std::array<char, PATH_MAX> target{};
  const ssize_t length =
      checked(doing.c_str(), [&] { return ::readlinkat(parent, name.c_str(), target.data(), target.size()); });
  return {target.data(), static_cast<std::size_t>(length)};
}

}  // namespace

void LayerPacker::Pack(const std::string& folder) {
  const std::string doing = "open " + folder;
  const UniqueFd root(
      checked(doing.c_str(), [&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
  Children(root.get(), "", 0);
  to_.Finish();
}

void LayerPacker::Children(int folder, const std::string& path, int depth) {
  std::vector<std::string> names = NamesIn(folder, "list " + Quoted(path));
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) Child(folder, name, path.empty() ? name : path + "/" + name, depth);
}

void LayerPacker::Child(int parent, const std::string& name, const std::string& path, int depth) {
  const std::string doing = "read " + Quoted(path);
  struct stat status = {};
  if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return;  // removed since it was listed
    throw SysError(errno, doing);
  }
  if (S_ISCHR(status.st_mode) && status.st_rdev == 0) {
    const std::string folder = path.substr(0, path.size() - name.size());
    return Marker(folder + std::string(kWhiteout) + name);
  }
  if (S_ISSOCK(status.st_mode)) return;  // nothing without its process
  if (S_ISREG(status.st_mode) && status.st_size == 0 && left_out_.contains(path)) return;
  if (name.starts_with(kWhiteout)) {
    throw LayerError(Quoted(path) + ": in a layer a name that begins with .wh. hides another file; rename it");
  }
  TarEntry entry;
  entry.type = TypeOf(status.st_mode);
  entry.path = path;
  entry.attributes = ReadAttributes(ProcPath(parent, name), status, doing);
  const bool is_opaque = TakeOverlayAttributes(entry.attributes, path);
  if (entry.type == TarType::kDirectory) return Folder(parent, name, std::move(entry), is_opaque, depth);
  if (status.st_nlink > 1) {
    const auto [first, is_first] = linked_.emplace(std::pair{status.st_dev, status.st_ino}, path);
    if (!is_first) {
      entry.type = TarType::kHardlink;
      entry.link = first->second;
      entry.attributes.xattrs.clear();  // said of the first name
      return to_.Begin(entry);
    }
  }
  if (entry.type == TarType::kFile) return File(parent, name, std::move(entry));
  if (entry.type == TarType::kSymlink) entry.link = TargetOf(parent, name, doing);
  entry.major = major(status.st_rdev);
  entry.minor = minor(status.st_rdev);
  to_.Begin(entry);
}

void LayerPacker::File(int parent, const std::string& name, TarEntry entry) {
  const std::string doing = "read " + Quoted(entry.path);
  // Not blocking: what was a file may have become a fifo.
  const UniqueFd file(checked(
      doing.c_str(), [&] { return ::openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC); }));
  struct stat status = {};
  checked(doing.c_str(), [&] { return ::fstat(file.get(), &status); });
  const auto changed = [&entry] {
    return LayerError(Quoted(entry.path) + " changed while it was read; let the container be paused meanwhile");
  };
  if (!S_ISREG(status.st_mode)) throw changed();
  entry.size = static_cast<std::uint64_t>(status.st_size);
  to_.Begin(entry);
  std::vector<char> chunk(std::min<std::uint64_t>(kChunkBytes, std::max<std::uint64_t>(entry.size, 1)));
  for (std::uint64_t left = entry.size; left > 0;) {
    const ssize_t length = checked(
        doing.c_str(), [&] { return ::read(file.get(), chunk.data(), std::min<std::uint64_t>(left, chunk.size())); });
    if (length == 0) throw changed();
    to_.Content({chunk.data(), static_cast<std::size_t>(length)});
    left -= static_cast<std::uint64_t>(length);
  }
  to_.End();
}

void LayerPacker::Folder(int parent, const std::string& name, TarEntry entry, bool is_opaque, int depth) {
  if (depth == kDeepest) throw LayerError(Quoted(entry.path) + " is nested more than 1024 deep");
  const UniqueFd folder = OpenChild(parent, name, "open " + Quoted(entry.path));
  to_.Begin(entry);
  if (is_opaque) Marker(entry.path + "/" + kOpaque);
  Children(folder.get(), entry.path, depth + 1);
}

/// An empty file, of which only the name counts.
void LayerPacker::Marker(const std::string& path) {
  TarEntry entry;
  entry.path = path;
  to_.Begin(entry);
  to_.End();
}

}  // namespace gantry
