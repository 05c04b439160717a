#include "layer/layer_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>

#include "core/defence.h"
#include "core/own_ids.h"

namespace gantry {
namespace {

constexpr std::size_t kLongestName = 255;
constexpr std::size_t kLargestXattr = 65536;
/// Whose a file would be, "UID:GID", where it belongs to root because this user namespace does not have him.
constexpr const char* kOwner = "user.gantry.owner";

/// Attributes that would speak to overlayfs or to us instead of to the container are not an image's to set.
bool SpeaksToOverlay(const std::string& name) {
  return name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.") || name == kOwner;
}

template <typename Set>
void SetXattrs(const Attributes& attributes, const std::string& doing, Set set) {
  for (const auto& [name, value] : attributes.xattrs) {
    if (Has(Defence::kNoOverlayAttributes) && SpeaksToOverlay(name)) continue;
    if (name.size() > kLongestName || value.size() > kLargestXattr)
      throw SysError(E2BIG, doing + ": attribute " + Quoted(name));
    if (set(name.c_str(), value.data(), value.size()) == 0) continue;
    // The filesystem does not have this kind, or has it not on this kind of file: others unpack such images too.
    // In a user namespace neither are those that the host's administrators keep to themselves.
    if (errno == ENOTSUP || (errno == EPERM && (name.starts_with("user.") || !OwnIds::Get().IsHost()))) continue;
    throw SysError(errno, doing + ": attribute " + Quoted(name));
  }
}

struct Owner {
  uid_t uid;
  gid_t gid;
  bool is_another;  // not who the attributes say
};

Owner OwnerHere(const Attributes& attributes) {
  const OwnIds& own = OwnIds::Get();
  const Owner owner{own.UserFor(attributes.uid), own.GroupFor(attributes.gid), false};
  return {owner.uid, owner.gid, owner.uid != attributes.uid || owner.gid != attributes.gid};
}

std::string PrintOwner(const Attributes& attributes) {
  return std::to_string(attributes.uid) + ":" + std::to_string(attributes.gid);
}

/// The attribute that says it goes. Believed only of what is root's, or whoever may write to a file could give it away.
void TakeRecordedOwner(Attributes& attributes) {
  if (OwnIds::Get().IsHost()) return;
  for (auto each = attributes.xattrs.begin(); each != attributes.xattrs.end(); ++each) {
    if (each->first != kOwner) continue;
    unsigned uid = 0;
    unsigned gid = 0;
    const bool is_read = std::sscanf(each->second.c_str(), "%u:%u", &uid, &gid) == 2;
    if (is_read && attributes.uid == 0 && attributes.gid == 0) {
      attributes.uid = uid;
      attributes.gid = gid;
    }
    attributes.xattrs.erase(each);
    return;
  }
}

}  // namespace

const char* OpaqueAttribute() { return OwnIds::Get().IsHost() ? "trusted.overlay.opaque" : "user.overlay.opaque"; }

std::string Quoted(const std::string& name) {
  constexpr std::size_t kShown = 200;
  std::string shown = "\"";
  for (const char c : name.substr(0, kShown)) {
    if (c >= ' ' && c <= '~' && c != '\\') {
      shown += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      shown += std::string("\\x") + "0123456789abcdef"[byte >> 4] + "0123456789abcdef"[byte & 15];
    }
  }
  return shown + (name.size() > kShown ? "…\"" : "\"");
}

std::string ProcPath(int parent, const std::string& name) {
  return "/proc/self/fd/" + std::to_string(parent) + "/" + name;
}

void SetAttributes(int fd, const Attributes& attributes, const std::string& doing) {
  struct stat now = {};
  checked(doing.c_str(), [&] { return ::fstat(fd, &now); });
  const Owner owner = OwnerHere(attributes);
  const bool is_owned = now.st_uid == owner.uid && now.st_gid == owner.gid;
  if (!is_owned) checked(doing.c_str(), [&] { return ::fchown(fd, owner.uid, owner.gid); });
  if (owner.is_another) {
    const std::string whose = PrintOwner(attributes);
    ::fsetxattr(fd, kOwner, whose.data(), whose.size(), 0);  // where the filesystem has room for it
  }
  SetXattrs(attributes, doing, [fd](const char* name, const void* value, std::size_t size) {
    return ::fsetxattr(fd, name, value, size, 0);
  });
  const mode_t mode = attributes.mode & 07777;
  // An access list among the attributes has changed the mode, too.
  if (!is_owned || !attributes.xattrs.empty() || (now.st_mode & 07777) != mode) {
    checked(doing.c_str(), [&] { return ::fchmod(fd, mode); });
  }
  const std::array<timespec, 2> times = {attributes.modified, attributes.modified};
  checked(doing.c_str(), [&] { return ::futimens(fd, times.data()); });
}

void SetAttributesAt(int parent, const std::string& name, bool with_mode, const Attributes& attributes,
                     const std::string& doing) {
  constexpr int kFlags = Has(Defence::kOwnAttributes) ? AT_SYMLINK_NOFOLLOW : 0;
  const Owner owner = OwnerHere(attributes);  // not recorded: links and devices have no attributes of users
  checked(doing.c_str(), [&] { return ::fchownat(parent, name.c_str(), owner.uid, owner.gid, kFlags); });
  const std::string path = ProcPath(parent, name);
  SetXattrs(attributes, doing, [&path](const char* attribute, const void* value, std::size_t size) {
    return ::lsetxattr(path.c_str(), attribute, value, size, 0);
  });
  // Made by us a moment ago in a folder that is ours alone: it is no symbolic link.
  if (with_mode) checked(doing.c_str(), [&] { return ::fchmodat(parent, name.c_str(), attributes.mode & 07777, 0); });
  const std::array<timespec, 2> times = {attributes.modified, attributes.modified};
  checked(doing.c_str(), [&] { return ::utimensat(parent, name.c_str(), times.data(), kFlags); });
}

void WriteAt(int fd, off_t offset, std::string_view bytes, const std::string& doing) {
  while (!bytes.empty()) {
    const auto written = checked(doing.c_str(), [&] { return ::pwrite(fd, bytes.data(), bytes.size(), offset); });
    bytes.remove_prefix(static_cast<std::size_t>(written));
    offset += written;
  }
}

UniqueFd OpenChild(int parent, const std::string& name, const std::string& doing) {
  return UniqueFd(checked(
      doing.c_str(), [&] { return ::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
}

std::vector<std::string> NamesIn(int folder, const std::string& doing) {
  const int copy = checked(doing.c_str(), [&] { return ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(copy), ::closedir);
  if (!listing) throw SysError(errno, doing);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(listing.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

void RemoveTree(int parent, const std::string& name, const std::string& doing) {
  if (::unlinkat(parent, name.c_str(), 0) == 0) return;
  if (errno != EISDIR) throw SysError(errno, doing);
  const UniqueFd top = OpenChild(parent, name, doing);
  std::uint64_t moved = 0;
  for (auto names = NamesIn(top.get(), doing); !names.empty(); names = NamesIn(top.get(), doing)) {
    for (const std::string& child : names) {
      if (::unlinkat(top.get(), child.c_str(), 0) == 0) continue;
      if (errno != EISDIR) throw SysError(errno, doing);
      {
        const UniqueFd folder = OpenChild(top.get(), child, doing);
        for (const std::string& grandchild : NamesIn(folder.get(), doing)) {
          int failed = 0;
          do {
            const std::string place = ".removing-" + std::to_string(moved++);
            failed = ::renameat2(folder.get(), grandchild.c_str(), top.get(), place.c_str(), RENAME_NOREPLACE);
          } while (failed != 0 && errno == EEXIST);
          if (failed != 0) throw SysError(errno, doing);
        }
      }
      checked(doing.c_str(), [&] { return ::unlinkat(top.get(), child.c_str(), AT_REMOVEDIR); });
    }
  }
  checked(doing.c_str(), [&] { return ::unlinkat(parent, name.c_str(), AT_REMOVEDIR); });
}

Attributes ReadAttributes(const std::string& proc_path, const struct stat& status, const std::string& doing) {
  Attributes result{status.st_mode, status.st_uid, status.st_gid, status.st_mtim, {}};
  std::vector<char> names(65536);
  const ssize_t length = ::llistxattr(proc_path.c_str(), names.data(), names.size());
  if (length < 0 && errno != ENOTSUP) throw SysError(errno, doing);
  for (ssize_t at = 0; at < length;) {
    const std::string name(names.data() + at);
    at += static_cast<ssize_t>(name.size()) + 1;
    std::string value(kLargestXattr, '\0');
    const ssize_t size = ::lgetxattr(proc_path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) throw SysError(errno, doing + ": attribute " + Quoted(name));
    value.resize(static_cast<std::size_t>(size));
    result.xattrs.emplace_back(name, std::move(value));
  }
  TakeRecordedOwner(result);
  return result;
}

}  // namespace gantry
