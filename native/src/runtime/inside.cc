#include "runtime/inside.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "core/defence.h"
#include "core/sys.h"

namespace gantry {
namespace {

constexpr int kMostLinks = 40;  // as the kernel has it

/// A path that is being walked: what was found so far, free of links, and what is to come.
struct Walk {
  char done[PATH_MAX] = "";
  char rest[PATH_MAX] = "";

  /// Takes the next component over into `done`. False at the end with errno 0, or with errno set if that is too long.
  bool Step() noexcept {
    errno = 0;
    while (true) {
      const char* name = rest + ::strspn(rest, "/");
      const std::size_t length = ::strcspn(name, "/");
      if (length == 0) return false;
      const std::size_t before = ::strlen(done);
      const bool up = length == 2 && name[0] == '.' && name[1] == '.';
      const bool stay = length == 1 && name[0] == '.';
      if (up) Leave();
      if (!up && !stay) {
        if (before + length + 2 > sizeof done) {
          errno = ENAMETOOLONG;
          return false;
        }
        done[before] = '/';
        ::memcpy(done + before + 1, name, length);
        done[before + 1 + length] = '\0';
      }
      ::memmove(rest, name + length, ::strlen(name + length) + 1);
      if (!up && !stay) return true;
    }
  }
  /// Back to the parent; the root is its own.
  void Leave() noexcept {
    char* slash = ::strrchr(done, '/');
    if (slash != nullptr) *slash = '\0';
  }
  /// The last component was a link: its target is to come instead. False with errno set if that is too long.
  bool Follow(int link) noexcept {
    char target[PATH_MAX];
    const ssize_t length = ::readlinkat(link, "", target, sizeof target);
    if (length < 0) return false;
    const std::size_t size = static_cast<std::size_t>(length);
    const std::size_t rest_size = ::strlen(rest) + 1;
    if (size + rest_size > sizeof rest) {
      errno = ENAMETOOLONG;
      return false;
    }
    ::memmove(rest + size, rest, rest_size);  // it is empty or begins with a slash
    ::memcpy(rest, target, size);
    if (target[0] == '/') {
      done[0] = '\0';
    } else {
      Leave();
    }
    return true;
  }
  const char* path() const noexcept { return done[0] == '\0' ? "/" : done; }
  bool more() const noexcept { return rest[::strspn(rest, "/")] != '\0'; }
};

/// Makes what `walk` has arrived at, which is missing.
int Make(int root, Walk& walk, bool directory, std::uint64_t resolve) noexcept {
  char name[NAME_MAX + 1];
  const char* last = ::strrchr(walk.done, '/') + 1;
  if (::strlen(last) > NAME_MAX) {
    errno = ENAMETOOLONG;
    return -1;
  }
  ::strcpy(name, last);
  char* const slash = walk.done + (last - walk.done) - 1;
  *slash = '\0';
  const int parent = OpenInside(root, walk.path(), O_PATH | O_DIRECTORY, resolve);
  *slash = '/';
  if (parent < 0) return -1;
  int made = -1;
  if (!directory) {
    made = ::openat(parent, name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  } else if (::mkdirat(parent, name, 0755) == 0 || errno == EEXIST) {
    made = ::openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  }
  const int error = errno;
  ::close(parent);
  errno = error;
  return made;
}

}  // namespace

int OpenInside(int root, const char* path, int flags, std::uint64_t resolve) noexcept {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve;
  if (!Has(Defence::kRootedPaths)) {
    how.resolve = 0;
    path += ::strspn(path, "/");
    if (*path == '\0') path = ".";
  }
  int fd = -1;
  do {
    fd = static_cast<int>(::syscall(SYS_openat2, root, path, &how, sizeof how));
  } while (fd < 0 && (errno == EAGAIN || errno == EINTR));  // EAGAIN: a rename raced with ".." handling
  return fd;
}

int OpenTarget(int root, const char* path, bool directory, bool plain_path) noexcept {
  const std::uint64_t resolve = plain_path ? RESOLVE_NO_SYMLINKS : 0;
  const int there = OpenInside(root, path, O_PATH, resolve);
  if (there >= 0 || errno != ENOENT) return there;

  // Component by component, links expanded by name: the kernel itself does not tell where a dangling one leads.
  Walk walk;
  if (::strlen(path) >= sizeof walk.rest) {
    errno = ENAMETOOLONG;
    return -1;
  }
  ::strcpy(walk.rest, path);
  for (int links = 0; walk.Step();) {
    UniqueFd at(OpenInside(root, walk.path(), O_PATH | O_NOFOLLOW, resolve));
    if (at.get() < 0 && errno == ENOENT) at = UniqueFd(Make(root, walk, directory || walk.more(), resolve));
    struct stat status{};
    if (at.get() < 0 || ::fstat(at.get(), &status) != 0) return -1;
    if (!S_ISLNK(status.st_mode)) continue;
    errno = ELOOP;
    if (plain_path || ++links > kMostLinks || !walk.Follow(at.get())) return -1;
  }
  return errno == 0 ? OpenInside(root, walk.path(), O_PATH, RESOLVE_NO_SYMLINKS) : -1;
}

}  // namespace gantry
