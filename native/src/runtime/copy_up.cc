#include "runtime/copy_up.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstddef>
#include <string_view>

#include "core/sys.h"

namespace gantry {
namespace {

constexpr int kMaxNesting = 32;
constexpr mode_t kModes = 07777;
constexpr std::size_t kMostAtOnce = 1U << 30;

bool CopyDirectory(int from, int to, int depth) noexcept;

bool CopyBytes(int from, int to) noexcept {
  ssize_t sent = 0;
  do {
    sent = ::sendfile(to, from, nullptr, kMostAtOnce);
  } while (sent > 0 || (sent < 0 && errno == EINTR));
  return sent == 0;
}

/// The owner first: a change of it takes the set-user-ID bit away.
bool TakeOver(int made, const struct stat& status) noexcept {
  return ::fchown(made, status.st_uid, status.st_gid) == 0 && ::fchmod(made, status.st_mode & kModes) == 0;
}

bool CopyFile(int from, int to, const char* name, const struct stat& status) noexcept {
  const UniqueFd source(::openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (source.get() < 0) return false;
  const UniqueFd made(::openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  return made.get() >= 0 && CopyBytes(source.get(), made.get()) && TakeOver(made.get(), status);
}

bool CopyLink(int from, int to, const char* name, const struct stat& status) noexcept {
  char target[PATH_MAX];
  const ssize_t length = ::readlinkat(from, name, target, sizeof target - 1);
  if (length < 0) return false;
  target[length] = '\0';
  return ::symlinkat(target, to, name) == 0 &&
         ::fchownat(to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) == 0;
}

bool CopyEntry(int from, int to, const char* name, int depth) noexcept {
  struct stat status{};
  if (::fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      return CopyFile(from, to, name, status);
    case S_IFLNK:
      return CopyLink(from, to, name, status);
    case S_IFIFO:
      return ::mkfifoat(to, name, 0600) == 0 && ::fchownat(to, name, status.st_uid, status.st_gid, 0) == 0 &&
             ::fchmodat(to, name, status.st_mode & kModes, 0) == 0;
    case S_IFDIR: {
      constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
      const UniqueFd source(::openat(from, name, kFlags));
      if (source.get() < 0 || ::mkdirat(to, name, 0700) != 0) return false;
      const UniqueFd made(::openat(to, name, kFlags));
      return made.get() >= 0 && CopyDirectory(source.get(), made.get(), depth + 1) && TakeOver(made.get(), status);
    }
    default:
      return true;
  }
}

bool CopyDirectory(int from, int to, int depth) noexcept {
  if (depth > kMaxNesting) {
    errno = ELOOP;
    return false;
  }
  alignas(dirent64) char buffer[2048];
  while (true) {
    const long got = ::syscall(SYS_getdents64, from, buffer, sizeof buffer);
    if (got <= 0) return got == 0;
    for (long at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      at += entry->d_reclen;
      const std::string_view name = entry->d_name;
      if (name != "." && name != ".." && !CopyEntry(from, to, entry->d_name, depth)) return false;
    }
  }
}

}  // namespace

bool CopyUp(int from, int to) noexcept {
  const UniqueFd source(::openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return source.get() >= 0 && CopyDirectory(source.get(), to, 0);
}

}  // namespace gantry
