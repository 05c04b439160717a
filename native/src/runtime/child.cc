#include "runtime/child.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>

#include "runtime/capabilities.h"
#include "runtime/rootfs.h"

namespace gantry {
namespace {

void Say(int fd, Report::Kind kind, Step step, int error, int index) noexcept {
  const Report report{kind, step, error, index};
  [[maybe_unused]] const ssize_t told = ::write(fd, &report, sizeof report);  // nobody left to tell: nothing to do
}

/// Follow the parent if it dies. It may have died already: then the pipe has no reader.
void DieWithParent(const Channel& up) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  pollfd pipe{up.fd, 0, 0};
  if (::poll(&pipe, 1, 0) == 1 && (pipe.revents & POLLERR) != 0) ::_exit(1);
}

/// The raw call: the C library keeps 32 and 33 to itself, and whoever started us may have left them ignored.
void ResetSignals() noexcept {
  struct {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    unsigned long mask;
  } const standard{SIG_DFL, 0, nullptr, 0};
  for (int signal = 1; signal < NSIG; ++signal) {
    ::syscall(SYS_rt_sigaction, signal, &standard, nullptr, sizeof standard.mask);  // but SIGKILL and SIGSTOP
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void JoinCgroup(const Plan& plan, const Channel& up) noexcept {
  for (const UniqueFd& procs : plan.cgroup->joins()) up.Must(::write(procs.get(), "0", 1) == 1, Step::kCgroup);
  // Only now: a cgroup namespace has its root where its maker is.
  if ((plan.config.namespaces & CLONE_NEWCGROUP) != 0) {
    up.Must(::unshare(CLONE_NEWCGROUP) == 0, Step::kCgroupNamespace);
  }
}

bool WriteProc(const char* path, const char* text, std::size_t length) noexcept {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  const bool written = ::write(fd, text, length) == static_cast<ssize_t>(length);
  const int error = errno;
  ::close(fd);
  errno = error;
  return written;
}

/// While /proc is still the host's: no path of the container is ever trusted with these (CVE-2025-52881).
void WriteKernelSettings(const Plan& plan, const Channel& up) noexcept {
  if (plan.config.process && plan.config.process->oom_score_adj) {
    char text[8];
    int value = *plan.config.process->oom_score_adj;
    char* at = text + sizeof text;
    const bool negative = value < 0;
    if (negative) value = -value;
    do {
      *--at = static_cast<char>('0' + value % 10);
      value /= 10;
    } while (value != 0);
    if (negative) *--at = '-';
    up.Must(WriteProc("/proc/self/oom_score_adj", at, static_cast<std::size_t>(text + sizeof text - at)),
            Step::kOomScore);
  }
  for (std::size_t i = 0; i < plan.config.sysctl.size(); ++i) {
    const auto& [path, value] = plan.config.sysctl[i];
    up.Must(WriteProc(path.c_str(), value.data(), value.size()), Step::kSysctl, static_cast<int>(i));
  }
}

void SetNames(const Plan& plan, const Channel& up) noexcept {
  const std::string& host = plan.config.hostname;
  const std::string& domain = plan.config.domainname;
  up.Must(host.empty() || ::sethostname(host.data(), host.size()) == 0, Step::kHostname);
  up.Must(domain.empty() || ::setdomainname(domain.data(), domain.size()) == 0, Step::kHostname);
}

void RaiseLoopback(const Channel& up) noexcept {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  ::memcpy(request.ifr_name, "lo", 3);
  request.ifr_flags = IFF_UP;
  up.Must(fd >= 0 && ::ioctl(fd, SIOCSIFFLAGS, &request) == 0, Step::kLoopback);
  ::close(fd);
}

void StartSession(const Plan& plan, const Channel& up) noexcept {
  up.Must(::setsid() >= 0, Step::kSession);
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, plan.keyring.c_str()) < 0) {
    up.Must(errno == ENOSYS || errno == EPERM, Step::kKeyring);  // no keyrings in this kernel, or forbidden to us
  }
}

void ConnectStdio(const Plan& plan, const Channel& up) noexcept {
  const int console = plan.console.get();
  if (console >= 0) up.Must(::ioctl(console, TIOCSCTTY, 0) == 0, Step::kStdio);
  for (int i = 0; i < 3; ++i) {
    const int source = console >= 0 ? console : plan.attachment.stdio[i];
    if (source == i) {
      up.Must(::fcntl(i, F_SETFD, 0) == 0, Step::kStdio);
    } else {
      up.Must(::dup2(source, i) == i, Step::kStdio);
    }
  }
}

/// Really closes everything that is not the container's: nothing of the host may be reachable through
/// /proc/self/fd when the working directory is entered (CVE-2024-21626).
void CloseEverythingElse(const Plan& plan, const Channel& up) noexcept {
  int keep[3] = {up.fd, plan.start_fifo.get(), plan.exec_fifo.get()};
  for (int i = 0; i < 2; ++i) {  // three values: two rounds of neighbours sort them
    for (int j = 0; j < 2; ++j) {
      if (keep[j] > keep[j + 1]) {
        const int swap = keep[j];
        keep[j] = keep[j + 1];
        keep[j + 1] = swap;
      }
    }
  }
  unsigned from = 3U + static_cast<unsigned>(plan.attachment.preserve_fds);
  for (unsigned fd = 3; fd < from; ++fd) up.Must(::fcntl(static_cast<int>(fd), F_SETFD, 0) == 0, Step::kDescriptors);
  for (const int kept : keep) {
    if (kept < static_cast<int>(from)) continue;
    const auto fd = static_cast<unsigned>(kept);
    if (fd > from) up.Must(::syscall(SYS_close_range, from, fd - 1, 0) == 0, Step::kDescriptors);
    from = fd + 1;
  }
  up.Must(::syscall(SYS_close_range, from, UINT_MAX, 0) == 0, Step::kDescriptors);
}

bool EnterDirectory(const char* path) noexcept {
  if (::chdir(path) != 0) return false;
  char resolved[PATH_MAX];
  const long length = ::syscall(SYS_getcwd, resolved, sizeof resolved);
  if (length > 0 && resolved[0] == '/') return true;
  if (length > 0) errno = EXDEV;  // "(unreachable)…": a directory outside the container
  return false;
}

void SetLimits(const ProcessConfig& process, const Channel& up) noexcept {
  for (std::size_t i = 0; i < process.rlimits.size(); ++i) {
    const RlimitConfig& wanted = process.rlimits[i];
    rlimit now{};
    const rlimit limit{wanted.soft, wanted.hard};
    const auto resource = static_cast<__rlimit_resource>(wanted.resource);
    if (::getrlimit(resource, &now) == 0 && now.rlim_cur == limit.rlim_cur && now.rlim_max == limit.rlim_max) continue;
    up.Must(::setrlimit(resource, &limit) == 0, Step::kRlimit, static_cast<int>(i));
  }
}

void BecomeUser(const ProcessConfig& process, const Channel& up) noexcept {
  SetLimits(process, up);
  // As root first: the directory may be closed to the user and is then still entered, as the other runtimes do.
  const bool entered = EnterDirectory(process.cwd.c_str());
  if (!entered && errno == EXDEV) up.Fail(Step::kWorkingDirectory);
  up.Must(DropBoundingSet(process.capabilities.bounding), Step::kCapabilities);
  up.Must(::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0, Step::kUser);
  // The raw calls: the C library's own would signal threads that this copy of the process does not have.
  up.Must(::syscall(SYS_setgroups, process.additional_gids.size(), process.additional_gids.data()) == 0, Step::kUser);
  up.Must(::syscall(SYS_setresgid, process.gid, process.gid, process.gid) == 0, Step::kUser);
  up.Must(::syscall(SYS_setresuid, process.uid, process.uid, process.uid) == 0, Step::kUser);
  up.Must(::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0, Step::kUser);
  up.Must(entered || EnterDirectory(process.cwd.c_str()), Step::kWorkingDirectory);
  up.Must(ApplyCapabilities(process.capabilities), Step::kCapabilities);
  if (process.no_new_privileges) up.Must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, Step::kNoNewPrivileges);
  ::umask(process.umask.value_or(0022));
}

/// The first of the candidates that could be executed, in the words of execvp(3): "not allowed" beats "not there".
int LookUpProgram(const Plan& plan) noexcept {
  int error = ENOENT;
  for (const std::string& program : plan.programs) {
    struct stat status{};
    if (::stat(program.c_str(), &status) != 0) {
      if (errno != ENOENT && (errno != ENOTDIR || plan.programs.size() == 1)) error = errno;
    } else if (S_ISDIR(status.st_mode)) {
      if (plan.programs.size() == 1) error = EISDIR;
    } else if (::faccessat(AT_FDCWD, program.c_str(), X_OK, AT_EACCESS) != 0) {
      error = errno;
    } else {
      return 0;
    }
  }
  return error;
}

void Execute(const Plan& plan) noexcept {
  int error = ENOENT;
  for (const std::string& program : plan.programs) {
    ::execve(program.c_str(), plan.argv.data(), plan.envp.data());
    if (errno == ENOENT || errno == ENOTDIR) continue;
    error = errno;
    if (errno != EACCES) break;
  }
  const int reason = LookUpProgram(plan);
  errno = error == EACCES || error == ENOENT ? (reason != 0 ? reason : error) : error;
}

/// Waits until `start` sends its byte. The fifo has a writer of our own, so it never ends early.
void AwaitStart(const Plan& plan) noexcept {
  char byte = 0;
  while (::read(plan.start_fifo.get(), &byte, 1) < 0 && errno == EINTR) {
  }
}

}  // namespace

void Channel::Fail(Step step, int index) const noexcept {
  Say(fd, Report::kFailed, step, errno, index);
  ::_exit(1);
}

void RunChild(const Plan& plan) noexcept {
  Channel up{plan.status.get()};
  DieWithParent(up);
  ResetSignals();
  JoinCgroup(plan, up);
  WriteKernelSettings(plan, up);
  SetNames(plan, up);
  if ((plan.config.namespaces & CLONE_NEWNET) != 0) RaiseLoopback(up);
  StartSession(plan, up);
  ::umask(0);
  EnterRootfs(plan, up);
  ConnectStdio(plan, up);
  CloseEverythingElse(plan, up);
  if (!plan.config.process) {
    // Nothing to run: `create` is allowed, `start` will refuse.
    Say(up.fd, Report::kReady, Step::kNone, 0, 0);
    ::close(up.fd);
    AwaitStart(plan);
    ::_exit(1);
  }
  BecomeUser(*plan.config.process, up);
  if (plan.attachment.die_with_parent) {
    DieWithParent(up);  // changing the user cleared it
  } else {
    ::prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
  }
  if (plan.attachment.wait_for_start) {
    errno = LookUpProgram(plan);
    up.Must(errno == 0, Step::kExec);
    Say(up.fd, Report::kReady, Step::kNone, 0, 0);
    ::close(up.fd);
    AwaitStart(plan);
    up.fd = plan.exec_fifo.get();
    Say(up.fd, Report::kStarting, Step::kNone, 0, 0);
  }
  Execute(plan);
  up.Fail(Step::kExec);
}

}  // namespace gantry
