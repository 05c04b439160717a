#include "layer/layer_writer.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <optional>

#include "core/defence.h"
#include "core/own_ids.h"

namespace gantry {
namespace {

constexpr std::size_t kLongestPath = 4095;
constexpr std::size_t kLongestName = 255;

/// `path` without empty and `.` components. Throws for what could lead out, or could not be stored.
std::string Normalised(const std::string& path, const std::string& doing) {
  if (path.size() > kLongestPath) throw SysError(ENAMETOOLONG, doing);
  if (Has(Defence::kWholeNames) && path.find('\0') != std::string::npos) {
    throw SysError(EINVAL, doing + ": its name holds a NUL");
  }
  std::string result;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string component = path.substr(start, end - start);
    start = end + 1;
    if (component.empty() || component == ".") continue;
    if (Has(Defence::kNoWayUp) && component == "..")
      throw SysError(EINVAL, doing + ": its name leads upwards by \"..\"");
    if (component.size() > kLongestName) throw SysError(ENAMETOOLONG, doing);
    result += (result.empty() ? "" : "/") + component;
  }
  return result;
}

std::string ParentOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}
std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool IsWhiteout(const struct stat& status) noexcept { return S_ISCHR(status.st_mode) && status.st_rdev == 0; }

struct FoundBelow {
  UniqueFd parent;
  struct stat status = {};
};

/// What overlayfs would show at `path` of the layers below: whiteouts and opaque directories hide what is further down.
std::optional<FoundBelow> FindBelow(const std::vector<UniqueFd>& lowers, const std::string& path,
                                    const std::string& doing) {
  for (const UniqueFd& lower : lowers) {
    UniqueFd folder(
        checked(doing.c_str(), [&] { return ::openat(lower.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    bool hides = false;
    for (std::size_t start = 0;;) {
      const std::size_t end = std::min(path.find('/', start), path.size());
      const std::string name = path.substr(start, end - start);
      struct stat status = {};
      if (::fstatat(folder.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) throw SysError(errno, doing);
        break;
      }
      if (IsWhiteout(status)) return std::nullopt;
      if (end == path.size()) return FoundBelow{std::move(folder), status};
      if (Has(Defence::kLowerNotFollowed)) {
        if (!S_ISDIR(status.st_mode)) return std::nullopt;
        folder = OpenChild(folder.get(), name, doing);
      } else {
        folder = UniqueFd(::openat(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      }
      char opaque = 0;
      hides = hides || (::fgetxattr(folder.get(), OpaqueAttribute(), &opaque, 1) == 1 && opaque == 'y');
      start = end + 1;
    }
    if (hides) return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

LayerWriter::LayerWriter(const std::string& folder)
    : root_(checked("open the layer's folder",
                    [&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); })) {}

/// Symbolic links of this layer are followed inside the layer, as if its folder were the root.
int LayerWriter::Resolve(const std::string& path, std::uint64_t flags) const noexcept {
  struct open_how how = {};
  how.flags = flags | O_CLOEXEC;
  if (Has(Defence::kRootedLayers)) how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  int fd = -1;
  do {
    fd = static_cast<int>(::syscall(SYS_openat2, root_.get(), path.empty() ? "." : path.c_str(), &how, sizeof how));
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  return fd;
}

/// The folder, made with its parents where it is missing.
UniqueFd LayerWriter::OpenFolder(const std::string& path, const std::string& doing) {
  const int fd = Resolve(path, O_RDONLY | O_DIRECTORY);
  if (fd >= 0) return UniqueFd(fd);
  if ((errno != ENOENT && errno != ENOTDIR) || path.empty()) throw SysError(errno, doing);
  return MakeFolder(path, doing);
}

UniqueFd LayerWriter::MakeFolder(const std::string& path, const std::string& doing) {
  const UniqueFd parent = OpenFolder(ParentOf(path), doing);
  const std::string name = NameOf(path);
  struct stat status = {};
  const bool there = ::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (there && S_ISLNK(status.st_mode)) {
    throw SysError(ENOTDIR,
                   doing + ": " + Quoted(path) + " is a symbolic link that leads to no directory of this layer");
  }
  if (there) {
    last_folder_.reset();
    checked(doing.c_str(), [&] { return ::unlinkat(parent.get(), name.c_str(), 0); });
  }
  checked(doing.c_str(), [&] { return ::mkdirat(parent.get(), name.c_str(), 0755); });
  checked(doing.c_str(), [&] { return ::fchmodat(parent.get(), name.c_str(), 0755, 0); });  // whatever the umask
  UniqueFd folder = OpenChild(parent.get(), name, doing);
  const std::string own = PathOf(folder.get(), path);
  lower_links_.erase(own);
  directories_.erase(own);
  implied_.insert(own);
  if (there) MarkOpaque(folder.get(), own, doing);  // what it replaces had hidden what is below
  return folder;
}

LayerWriter::Place LayerWriter::PlaceOf(const std::string& path, const std::string& doing) {
  if (path.empty()) throw SysError(EINVAL, doing + ": it would replace the root directory");
  const std::string parent = ParentOf(path);
  if (!last_folder_ || parent != last_parent_) {
    last_folder_ = std::make_shared<const UniqueFd>(OpenFolder(parent, doing));
    last_parent_ = parent;
  }
  return {last_folder_, NameOf(path)};
}

/// Where in the layer the kernel sees `folder`, so that ways through symbolic links get one name; `asked` if it is too
/// long a way for the kernel to tell.
std::string LayerWriter::PathOf(int folder, const std::string& asked) const {
  const auto read = [](int fd) {
    std::string way(kLongestPath + 1, '\0');
    const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), way.data(), way.size());
    way.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
    return way;
  };
  const std::string way = read(folder);
  const std::string root = read(root_.get());
  if (way == root && !way.empty()) return "";
  return !root.empty() && way.starts_with(root + "/") ? way.substr(root.size() + 1) : asked;
}

std::string LayerWriter::PathOf(const Place& place, const std::string& asked) const {
  const std::string parent = PathOf(place.parent(), ParentOf(asked));
  return parent.empty() ? place.name : parent + "/" + place.name;
}

/// Where a target that this layer does not have is to be looked for below. Throws if something of this layer hides it.
std::string LayerWriter::PathBelow(const std::string& target, const std::string& doing) const {
  for (std::string up = ParentOf(target);; up = ParentOf(up)) {
    const UniqueFd folder(Resolve(up, O_PATH | O_DIRECTORY));
    if (folder.get() < 0 && errno == ENOTDIR) throw SysError(ENOENT, doing + ": this layer hides the target");
    if (folder.get() < 0 && errno != ENOENT) throw SysError(errno, doing);
    if (folder.get() < 0) continue;
    const std::string rest = up.empty() ? target : target.substr(up.size() + 1);
    const std::string way = PathOf(folder.get(), up);
    return way.empty() ? rest : way + "/" + rest;
  }
}

/// Removes what is there. True if something was.
bool LayerWriter::ClearWay(const Place& place, const std::string& doing) {
  struct stat status = {};
  if (::fstatat(place.parent(), place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return false;
    throw SysError(errno, doing);
  }
  last_folder_.reset();
  RemoveTree(place.parent(), place.name, doing);
  return true;
}

void LayerWriter::MarkOpaque(int folder, const std::string& path, const std::string& doing) {
  checked(doing.c_str(), [&] { return ::fsetxattr(folder, OpaqueAttribute(), "y", 1, 0); });
  opaque_.insert(PathOf(folder, path));
}

/// Something else is made there: what was to be linked there, or below it, is not wanted any more.
void LayerWriter::ForgetLinks(const Place& place, const std::string& asked) {
  if (lower_links_.empty()) return;
  const std::string path = PathOf(place, asked);
  lower_links_.erase(path);
  const auto below = lower_links_.lower_bound(path + "/");
  lower_links_.erase(below, lower_links_.lower_bound(path + "0"));  // '0' is the byte after '/'
}

/// Whether this layer hides what the layers below have at `path`.
bool LayerWriter::Hides(const std::string& path) const {
  for (std::string up = path; !up.empty(); up = ParentOf(up)) {
    if (whiteouts_.contains(up)) return true;
    if (up != path && opaque_.contains(up)) return true;
  }
  return opaque_.contains("");
}

void LayerWriter::SetDirectoryAttributes() {
  for (auto entry = directories_.rbegin(); entry != directories_.rend(); ++entry) {
    const std::string doing = "set the attributes of the directory " + Quoted(entry->first);
    const bool only_made = Has(Defence::kDirectoriesAreMade);
    const int fd = only_made ? Resolve(entry->first, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
                             : ::openat(root_.get(), entry->first.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) continue;  // something else took its place
    const UniqueFd folder(checked(doing.c_str(), [fd] { return fd; }));
    struct stat status = {};
    checked(doing.c_str(), [&] { return ::fstat(folder.get(), &status); });
    if (status.st_ino == entry->second.inode || !only_made)
      SetAttributes(folder.get(), entry->second.attributes, doing);
  }
}

void LayerWriter::Directory(const std::string& raw, Attributes attributes) {
  const std::string doing = "make the directory " + Quoted(raw);
  const std::string path = Normalised(raw, doing);
  struct stat status = {};
  if (path.empty()) {
    checked(doing.c_str(), [&] { return ::fstat(root_.get(), &status); });
    directories_.insert_or_assign(path, Made{status.st_ino, std::move(attributes)});
    return;
  }
  const Place place = PlaceOf(path, doing);
  const auto look = [&] { return ::fstatat(place.parent(), place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW); };
  const std::string own = PathOf(place, path);
  if (look() != 0 || !S_ISDIR(status.st_mode)) {
    ForgetLinks(place, path);
    const bool replaces = ClearWay(place, doing);
    checked(doing.c_str(), [&] { return ::mkdirat(place.parent(), place.name.c_str(), 0755); });
    checked(doing.c_str(), look);
    if (replaces) MarkOpaque(OpenChild(place.parent(), place.name, doing).get(), own, doing);
  }
  implied_.erase(own);
  directories_.insert_or_assign(own, Made{status.st_ino, std::move(attributes)});
}

void LayerWriter::Symlink(const std::string& raw, const std::string& target, const Attributes& attributes) {
  const std::string doing = "make the symbolic link " + Quoted(raw);
  if (target.empty() || target.size() > kLongestPath || target.find('\0') != std::string::npos) {
    throw SysError(EINVAL, doing + ": its target is empty, too long or holds a NUL");
  }
  const std::string path = Normalised(raw, doing);
  const Place place = PlaceOf(path, doing);
  ForgetLinks(place, path);
  ClearWay(place, doing);
  checked(doing.c_str(), [&] { return ::symlinkat(target.c_str(), place.parent(), place.name.c_str()); });
  SetAttributesAt(place.parent(), place.name, false, attributes, doing);
}

/// False if the target is not in this layer.
bool LayerWriter::TryLink(const std::string& path, const std::string& target, const std::string& doing) {
  const int found = Resolve(ParentOf(target), O_PATH | O_DIRECTORY);
  if (found < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return false;
    throw SysError(errno, doing);
  }
  const UniqueFd target_parent(found);
  const std::string target_name = NameOf(target);
  struct stat status = {};
  if (::fstatat(target_parent.get(), target_name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return false;
    throw SysError(errno, doing);
  }
  if (IsWhiteout(status)) return false;
  if (S_ISDIR(status.st_mode)) throw SysError(EISDIR, doing + ": its target is a directory");
  const Place place = PlaceOf(path, doing);
  struct stat own = {};
  if (::fstatat(place.parent(), place.name.c_str(), &own, AT_SYMLINK_NOFOLLOW) == 0 && own.st_ino == status.st_ino) {
    return true;  // linked already, or to itself
  }
  ForgetLinks(place, path);
  ClearWay(place, doing);
  const int flags = Has(Defence::kLinksNotFollowed) ? 0 : AT_SYMLINK_FOLLOW;
  checked(doing.c_str(), [&] {
    return ::linkat(target_parent.get(), target_name.c_str(), place.parent(), place.name.c_str(), flags);
  });
  return true;
}

void LayerWriter::Hardlink(const std::string& raw, const std::string& raw_target) {
  const std::string doing = "link " + Quoted(raw) + " to " + Quoted(raw_target);
  const std::string path = Normalised(raw, doing);
  const std::string target = Normalised(raw_target, doing);
  if (target.empty() || path.empty()) throw SysError(EISDIR, doing);
  if (TryLink(path, target, doing)) return;
  std::string below = PathBelow(target, doing);
  // A link to a link that waits: to the same file, whatever takes the place of the other one later.
  if (const auto waiting = lower_links_.find(below); waiting != lower_links_.end()) below = waiting->second;
  const Place place = PlaceOf(path, doing);  // what was there is overridden now, not when the link is completed
  ForgetLinks(place, path);
  ClearWay(place, doing);
  lower_links_.insert_or_assign(PathOf(place, path), below);
}

void LayerWriter::Node(const std::string& raw, mode_t kind, unsigned major, unsigned minor,
                       const Attributes& attributes) {
  const std::string doing = "make the device or fifo " + Quoted(raw);
  const dev_t device = makedev(major, minor);
  if (Has(Defence::kOwnWhiteouts) && kind == S_IFCHR && device == 0)
    throw SysError(EINVAL, doing + ": character device 0:0 would forge a whiteout");
  const std::string path = Normalised(raw, doing);
  const Place place = PlaceOf(path, doing);
  ForgetLinks(place, path);
  ClearWay(place, doing);
  if (kind != S_IFIFO && !OwnIds::Get().IsHost()) return;  // nobody could make it, and it would work in no container
  checked(doing.c_str(), [&] { return ::mknodat(place.parent(), place.name.c_str(), kind | 0600, device); });
  SetAttributesAt(place.parent(), place.name, true, attributes, doing);
}

UniqueFd LayerWriter::File(const std::string& raw, mode_t mode) {
  const std::string doing = "write the file " + Quoted(raw);
  const std::string path = Normalised(raw, doing);
  const Place place = PlaceOf(path, doing);
  ForgetLinks(place, path);
  const auto create = [&] {
    constexpr int kNew = Has(Defence::kNewFiles) ? O_EXCL | O_NOFOLLOW : O_TRUNC;
    return UniqueFd(::openat(place.parent(), place.name.c_str(), O_WRONLY | O_CREAT | kNew | O_CLOEXEC, mode & 0777));
  };
  UniqueFd file = create();
  if (file.get() < 0 && errno == EEXIST) {
    ClearWay(place, doing);  // never written through: it may have other names
    file = create();
  }
  if (file.get() < 0) throw SysError(errno, doing);
  return file;
}

void LayerWriter::Whiteout(const std::string& raw) {
  const std::string doing = "hide " + Quoted(raw);
  const std::string path = Normalised(raw, doing);
  const int parent = Resolve(ParentOf(path), O_PATH | O_DIRECTORY);
  if (parent < 0 && errno == ENOTDIR) return;  // a file of this layer is in the way, and hides it already
  const UniqueFd closed(parent);
  const Place place = PlaceOf(path, doing);
  const std::string own = PathOf(place, path);
  if (lower_links_.contains(own)) return;
  struct stat status = {};
  if (::fstatat(place.parent(), place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
    // Of this layer, so it stays; but as a directory it must not show what the layers below have in it.
    if (S_ISDIR(status.st_mode)) MarkOpaque(OpenChild(place.parent(), place.name, doing).get(), own, doing);
    return;
  }
  checked(doing.c_str(), [&] { return ::mknodat(place.parent(), place.name.c_str(), S_IFCHR, 0); });
  whiteouts_.insert(own);
}

void LayerWriter::Opaque(const std::string& raw) {
  const std::string doing = "hide all in " + Quoted(raw);
  const std::string path = Normalised(raw, doing);
  MarkOpaque(OpenFolder(path, doing).get(), path, doing);
}

bool LayerWriter::Finish() {
  // In an opaque directory a whiteout hides nothing, and would show up as an entry that cannot be found.
  for (const std::string& path : whiteouts_) {
    bool hidden = false;
    for (std::string up = ParentOf(path); !hidden && !up.empty(); up = ParentOf(up)) hidden = opaque_.contains(up);
    if (!hidden) continue;
    const std::string doing = "tidy " + Quoted(path);
    const int parent = Resolve(ParentOf(path), O_RDONLY | O_DIRECTORY);
    if (parent < 0) continue;  // something else took its directory's place
    const Place place{std::make_shared<const UniqueFd>(parent), NameOf(path)};
    struct stat status = {};
    if (::fstatat(parent, place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && IsWhiteout(status)) {
      ClearWay(place, doing);
    }
  }
  SetDirectoryAttributes();
  checked("make the layer durable", [&] { return ::syncfs(root_.get()); });
  return !implied_.empty() || !lower_links_.empty() || opaque_.contains("");
}

/// Makes the same file, link or device here, at the same path.
void LayerWriter::CopyUp(const std::string& path, int lower_parent, const std::string& name,
                         const struct stat& status) {
  const std::string doing = "copy " + Quoted(path) + " up";
  const Attributes attributes = ReadAttributes(ProcPath(lower_parent, name), status, doing);
  if (S_ISLNK(status.st_mode)) {
    std::string target(kLongestPath, '\0');
    const auto length =
        checked(doing.c_str(), [&] { return ::readlinkat(lower_parent, name.c_str(), target.data(), target.size()); });
    target.resize(static_cast<std::size_t>(length));
    return Symlink(path, target, attributes);
  }
  if (!S_ISREG(status.st_mode)) {
    return Node(path, status.st_mode & S_IFMT, major(status.st_rdev), minor(status.st_rdev), attributes);
  }
  const UniqueFd source(
      checked(doing.c_str(), [&] { return ::openat(lower_parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC); }));
  const UniqueFd file = File(path, attributes.mode);
  off_t size = 0;
  for (std::string buffer(1 << 18, '\0');;) {
    const auto count = checked(doing.c_str(), [&] { return ::read(source.get(), buffer.data(), buffer.size()); });
    if (count == 0) break;
    WriteAt(file.get(), size, {buffer.data(), static_cast<std::size_t>(count)}, doing);
    size += count;
  }
  SetAttributes(file.get(), attributes, doing);
}

/// overlayfs merges the roots of layers whatever their attributes say, so an opaque root is made of whiteouts.
void LayerWriter::HideRoots(const std::vector<UniqueFd>& lowers) {
  const std::string doing = "hide all in the root";
  for (const UniqueFd& lower : lowers) {
    for (const std::string& name : NamesIn(lower.get(), doing)) {
      struct stat status = {};
      if (::fstatat(root_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        checked(doing.c_str(), [&] { return ::mknodat(root_.get(), name.c_str(), S_IFCHR, 0); });
      } else if (S_ISDIR(status.st_mode)) {
        MarkOpaque(OpenChild(root_.get(), name, doing).get(), name, doing);
      }
    }
  }
}

void LayerWriter::CompleteAgainst(const std::vector<std::string>& lowers) {
  std::vector<UniqueFd> folders;
  for (const std::string& lower : lowers) {
    folders.emplace_back(checked(
        "open a layer below", [&] { return ::open(lower.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
  }
  for (const auto& [path, target] : std::exchange(lower_links_, {})) {
    const std::string doing = "link " + Quoted(path) + " to " + Quoted(target);
    if (TryLink(path, target, doing)) continue;
    if (Hides(PathBelow(target, doing))) throw SysError(ENOENT, doing + ": this layer hides the target");
    const auto found = FindBelow(folders, target, doing);
    if (!found) throw SysError(ENOENT, doing + ": the target is in no layer");
    if (S_ISDIR(found->status.st_mode)) throw SysError(EISDIR, doing + ": its target is a directory");
    CopyUp(target, found->parent.get(), NameOf(target), found->status);
    TryLink(path, target, doing);
  }
  for (auto path = implied_.rbegin(); path != implied_.rend(); ++path) {
    const std::string doing = "set the attributes of the directory " + Quoted(*path);
    const auto found = Hides(*path) ? std::nullopt : FindBelow(folders, *path, doing);
    const int own = Resolve(*path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (own < 0) continue;  // something else took its place
    const UniqueFd folder(own);
    if (!found || !S_ISDIR(found->status.st_mode)) continue;
    SetAttributes(folder.get(), ReadAttributes(ProcPath(found->parent.get(), NameOf(*path)), found->status, doing),
                  doing);
  }
  implied_.clear();
  if (opaque_.contains("")) HideRoots(folders);
  SetDirectoryAttributes();  // links and copies have moved their times
  checked("make the layer durable", [&] { return ::syncfs(root_.get()); });
}

}  // namespace gantry
