#include "runtime/shared_namespace.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <memory>

#include "runtime/files.h"
#include "runtime/state.h"

namespace gantry {
namespace {

constexpr const char* kLockFile = "namespace.lock";
constexpr const char* kRecord = "namespace";
constexpr int kAloneMs = 20'000;  // between two looks whether anybody else is there

UniqueFd OpenNamespace(pid_t pid, const char* name) {
  const std::string path = "/proc/" + std::to_string(pid) + "/ns/" + name;
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

/// Whether we have made it, or another process of the same user: what the record says is believed only then.
bool IsOurs(const UniqueFd& user) {
  uid_t owner = 0;
  return ::ioctl(user.get(), NS_GET_OWNER_UID, &owner) == 0 && owner == ::geteuid();
}

bool IsSame(const struct stat& one, const char* path) {
  struct stat other{};
  return ::stat(path, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/// Of the holder: containers' processes, monitors, commands. A container with a user namespace of its own has a monitor
/// that is here.
bool IsAlone() {
  struct stat own{};
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
  if (!processes || ::stat("/proc/self/ns/user", &own) != 0) return false;
  while (const dirent* entry = ::readdir(processes.get())) {
    pid_t pid = 0;
    const std::string_view name = entry->d_name;
    const auto [rest, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || rest != name.data() + name.size() || pid == ::getpid()) continue;
    if (IsSame(own, ("/proc/" + std::to_string(pid) + "/ns/user").c_str())) return false;
  }
  return true;
}

/// Under the lock, so that nobody is on his way in.
[[noreturn]] void HoldWhileThereAreOthers(int folder) {
  for (;;) {
    ::poll(nullptr, 0, kAloneMs);
    const UniqueFd lock(::openat(folder, kLockFile, O_RDWR | O_CLOEXEC));
    if (lock.get() < 0) ::_exit(0);  // the folder has gone, and with it who could find us
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0 || !IsAlone()) continue;
    ::unlinkat(folder, kRecord, 0);
    ::_exit(0);
  }
}

/// Nothing of whoever has started it; says on `ready` that its namespaces are there.
[[noreturn]] void BecomeHolder(int user, int folder, int ready) {
  const auto enter = [&] {
    return ::setsid() >= 0 && ::setns(user, CLONE_NEWUSER) == 0 && ::unshare(CLONE_NEWNS) == 0 && ::chdir("/") == 0;
  };
  if (!enter()) {
    const int error = errno;
    [[maybe_unused]] const auto told = ::write(ready, &error, sizeof error);
    ::_exit(1);
  }
  ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // or the way in, which is in its /proc, would be closed to its user
  ::prctl(PR_SET_NAME, "gantry-userns", 0, 0, 0);
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_IGN);
  const int none = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd) ::dup2(none, fd);
  const pid_t self = ::getpid();
  [[maybe_unused]] const auto told = ::write(ready, &self, sizeof self);
  // All but the folder, whatever its number: no terminal and no pipe of a command is held open.
  ::dup3(folder, 3, O_CLOEXEC);
  ::syscall(SYS_close_range, 4U, ~0U, 0);
  HoldWhileThereAreOthers(3);
}

/// Resolves to its process. It is nobody's child, since who makes it goes on as another program.
pid_t StartHolder(int user, int folder) {
  int pipe[2];
  checked("make a pipe", [&] { return ::pipe2(pipe, O_CLOEXEC); });
  const UniqueFd read_end(pipe[0]);
  UniqueFd write_end(pipe[1]);
  const pid_t between = checked("start the holder of the user namespace", [] { return ::fork(); });
  if (between == 0) {
    const pid_t child = ::fork();
    if (child == 0) BecomeHolder(user, folder, write_end.get());
    ::_exit(child < 0 ? 1 : 0);
  }
  write_end = UniqueFd();
  int status = 0;
  while (::waitpid(between, &status, 0) < 0 && errno == EINTR) {
  }
  pid_t holder = 0;
  const auto length =
      checked("start the holder of the user namespace", [&] { return ::read(read_end.get(), &holder, sizeof holder); });
  if (length != sizeof holder) throw SysError(EAGAIN, "start the holder of the user namespace");
  const std::string ns = "/proc/" + std::to_string(holder) + "/ns/user";
  struct stat wanted{};
  // An errno is a small number, and the process of that number is not in the namespace.
  if (::fstat(user, &wanted) != 0 || !IsSame(wanted, ns.c_str())) throw SysError(holder, "enter the user namespace");
  return holder;
}

}  // namespace

UniqueFd LockNamespaces(int folder) {
  UniqueFd file(checked("open namespace.lock",
                        [&] { return ::openat(folder, kLockFile, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600); }));
  checked("lock namespace.lock", [&] { return ::flock(file.get(), LOCK_EX); });
  return file;
}

std::optional<NamespaceDoors> FindNamespaces(int folder) {
  const UniqueFd record(::openat(folder, kRecord, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (record.get() < 0) return std::nullopt;
  const std::string text = ReadAll(record.get(), 256, kRecord);
  pid_t pid = 0;
  unsigned long long start = 0;
  if (std::sscanf(text.c_str(), "%d %llu", &pid, &start) != 2 || pid <= 0) return std::nullopt;
  if (ProcessStartTime(pid) != start) return std::nullopt;
  NamespaceDoors doors{OpenNamespace(pid, "user"), OpenNamespace(pid, "mnt")};
  struct stat user{};
  const bool opened = doors.user.get() >= 0 && doors.mount.get() >= 0 && ::fstat(doors.user.get(), &user) == 0;
  // After a boot the number may be another process's of ours, which is where we are.
  if (!opened || !IsOurs(doors.user) || IsSame(user, "/proc/self/ns/user")) return std::nullopt;
  return doors;
}

NamespaceDoors MakeNamespaces(int folder, const IdMappings& mappings) {
  const UniqueFd user = MakeUserNamespace(mappings);
  const pid_t holder = StartHolder(user.get(), folder);
  NamespaceDoors doors{OpenNamespace(holder, "user"), OpenNamespace(holder, "mnt")};
  if (doors.user.get() < 0 || doors.mount.get() < 0) throw SysError(errno, "open the user namespace");
  ReplaceFile(folder, kRecord, std::to_string(holder) + " " + std::to_string(ProcessStartTime(holder)) + "\n", 0600);
  return doors;
}

}  // namespace gantry
