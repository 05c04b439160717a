#include "layer/layer_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>

namespace gantry {
namespace {

constexpr std::size_t kLongestName = 255;
constexpr std::size_t kLargestXattr = 65536;

/// Attributes that would speak to overlayfs instead of to the container are not an image's to set.
bool SpeaksToOverlay(const std::string& name) {
  return name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.");
}

template <typename Set>
void SetXattrs(const Attributes& attributes, const std::string& doing, Set set) {
  for (const auto& [name, value] : attributes.xattrs) {
    if (SpeaksToOverlay(name)) continue;
    if (name.size() > kLongestName || value.size() > kLargestXattr)
      throw SysError(E2BIG, doing + ": attribute " + Quoted(name));
    if (set(name.c_str(), value.data(), value.size()) == 0) continue;
    // The filesystem does not have this kind, or has it not on this kind of file: others unpack such images too.
    if (errno == ENOTSUP || (errno == EPERM && name.starts_with("user."))) continue;
    throw SysError(errno, doing + ": attribute " + Quoted(name));
  }
}

}  // namespace

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
  const bool is_owned = now.st_uid == attributes.uid && now.st_gid == attributes.gid;
  if (!is_owned) checked(doing.c_str(), [&] { return ::fchown(fd, attributes.uid, attributes.gid); });
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
  checked(doing.c_str(),
          [&] { return ::fchownat(parent, name.c_str(), attributes.uid, attributes.gid, AT_SYMLINK_NOFOLLOW); });
  const std::string path = ProcPath(parent, name);
  SetXattrs(attributes, doing, [&path](const char* attribute, const void* value, std::size_t size) {
    return ::lsetxattr(path.c_str(), attribute, value, size, 0);
  });
  // Made by us a moment ago in a folder that is ours alone: it is no symbolic link.
  if (with_mode) checked(doing.c_str(), [&] { return ::fchmodat(parent, name.c_str(), attributes.mode & 07777, 0); });
  const std::array<timespec, 2> times = {attributes.modified, attributes.modified};
  checked(doing.c_str(), [&] { return ::utimensat(parent, name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW); });
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
  return result;
}

}  // namespace gantry
