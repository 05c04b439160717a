#include "runtime/process_child.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
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

#include "core/defence.h"
#include "runtime/capabilities.h"

namespace gantry {
namespace {

void ConnectStdio(const ProcessPlan& plan, const Channel& up) noexcept {
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
void CloseEverythingElse(const ProcessPlan& plan, const Channel& up) noexcept {
  if (!Has(Defence::kNothingInherited)) return;
  int keep[4] = {up.fd, plan.go.get(), plan.start_fifo.get(), plan.exec_fifo.get()};
  for (int i = 0; i < 3; ++i) {  // four values: three rounds of neighbours sort them
    for (int j = 0; j < 3; ++j) {
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
  if (!Has(Defence::kNothingInherited)) return true;
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

/// Without no_new_privs loading a filter needs a capability that is about to go: then it holds from here on.
/// Otherwise it is loaded as late as possible, so that it need not allow what is still to be done.
void LoadFilter(const ProcessPlan& plan, const Channel& up) noexcept {
  const int listener = LoadSeccomp(*plan.seccomp);
  up.Must(listener >= 0, Step::kSeccomp);
  if (!plan.seccomp->notifies) return;
  Say(up.fd, Report::kListener, Step::kNone, 0, listener);
  up.Must(AwaitWord(plan), Step::kSeccomp);
  ::close(listener);  // whoever supervises has it now; the program must not
}

void BecomeUser(const ProcessPlan& plan, const Channel& up) noexcept {
  const ProcessConfig& process = *plan.config;
  SetLimits(process, up);
  // As root first: the directory may be closed to the user and is then still entered, as the other runtimes do.
  const bool entered = EnterDirectory(process.cwd.c_str());
  if (!entered && errno == EXDEV) up.Fail(Step::kWorkingDirectory);
  if (plan.seccomp && !process.no_new_privileges) LoadFilter(plan, up);
  up.Must(DropBoundingSet(process.capabilities.bounding), Step::kCapabilities);
  up.Must(::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0, Step::kUser);
  // The raw calls: the C library's own would signal threads that this copy of the process does not have.
  const bool grouped = ::syscall(SYS_setgroups, process.additional_gids.size(), process.additional_gids.data()) == 0;
  up.Must(grouped || (errno == EPERM && plan.groups_may_stay), Step::kUser);
  up.Must(::syscall(SYS_setresgid, process.gid, process.gid, process.gid) == 0, Step::kUser);
  up.Must(::syscall(SYS_setresuid, process.uid, process.uid, process.uid) == 0, Step::kUser);
  up.Must(::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0, Step::kUser);
  up.Must(entered || EnterDirectory(process.cwd.c_str()), Step::kWorkingDirectory);
  up.Must(ApplyCapabilities(process.capabilities), Step::kCapabilities);
  if (process.no_new_privileges) up.Must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, Step::kNoNewPrivileges);
  ::umask(process.umask.value_or(0022));
}

/// The first of the candidates that could be executed, in the words of execvp(3): "not allowed" beats "not there".
int LookUpProgram(const ProcessPlan& plan) noexcept {
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

void Execute(const ProcessPlan& plan) noexcept {
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
void AwaitStart(const ProcessPlan& plan) noexcept {
  char byte = 0;
  while (::read(plan.start_fifo.get(), &byte, 1) < 0 && errno == EINTR) {
  }
}

}  // namespace

void Channel::Fail(Step step, int index) const noexcept {
  Say(fd, Report::kFailed, step, errno, index);
  ::_exit(1);
}

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

bool WriteProc(const char* path, const char* text, std::size_t length) noexcept {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  const bool written = ::write(fd, text, length) == static_cast<ssize_t>(length);
  const int error = errno;
  ::close(fd);
  errno = error;
  return written;
}

void JoinCgroups(const std::vector<UniqueFd>& joins, const Channel& up) noexcept {
  for (const UniqueFd& each : joins) up.Must(::write(each.get(), "0", 1) == 1, Step::kCgroup);
}

void SetPriorities(const ProcessPlan& plan, const Channel& up) noexcept {
  if (plan.config == nullptr) return;
  up.Must(ApplyScheduler(plan.config->scheduling), Step::kScheduler);
  up.Must(ApplyIoPriority(plan.config->scheduling), Step::kIoPriority);
  if (plan.config->oom_score_adj) {
    char text[8];
    int value = *plan.config->oom_score_adj;
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
}

void SetAppArmorProfile(const ProcessPlan& plan, const Channel& up) noexcept {
  if (plan.apparmor.empty()) return;
  const char* path = "/proc/self/attr/apparmor/exec";
  if (::access(path, F_OK) != 0) path = "/proc/self/attr/exec";  // before 5.8, of the one security module
  up.Must(WriteProc(path, plan.apparmor.data(), plan.apparmor.size()), Step::kAppArmor);
}

void SetAsHost(const ProcessPlan& plan, const Channel& up) noexcept {
  // What is not dumpable has a /proc that is root's; nothing of a container sees this process yet.
  if (::geteuid() != 0) ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  SetPriorities(plan, up);
  SetAppArmorProfile(plan, up);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (plan.config == nullptr) return;
  for (const RlimitConfig& wanted : plan.config->rlimits) {
    rlimit now{};
    const auto resource = static_cast<__rlimit_resource>(wanted.resource);
    if (::getrlimit(resource, &now) != 0 || wanted.hard <= now.rlim_max) continue;
    now.rlim_max = wanted.hard;
    ::setrlimit(resource, &now);  // if it cannot be raised, the process itself will say so
  }
}

bool Give(const ProcessPlan& plan, int fd) noexcept {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr packet{};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  packet.msg_control = control;
  packet.msg_controllen = sizeof control;
  cmsghdr* rights = CMSG_FIRSTHDR(&packet);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  ::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  return ::sendmsg(plan.go.get(), &packet, MSG_NOSIGNAL) == 1;
}

void StartSession(const ProcessPlan& plan, const Channel& up) noexcept {
  up.Must(!Has(Defence::kOwnSession) || ::setsid() >= 0, Step::kSession);
  if (!plan.attachment.own_keyring) return;
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, plan.keyring.c_str()) < 0) {
    up.Must(errno == ENOSYS || errno == EPERM, Step::kKeyring);  // no keyrings in this kernel, or forbidden to us
  }
}

bool AwaitWord(const ProcessPlan& plan) noexcept {
  char word = 0;
  ssize_t got = 0;
  do {
    got = ::read(plan.go.get(), &word, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 0) errno = EPIPE;
  return got == 1;
}

void BecomeProgram(const ProcessPlan& plan, Channel up) noexcept {
  // While no filter can forbid it: the end of the pipe means exec only to who was told so far.
  if (!plan.attachment.wait_for_start) Say(up.fd, Report::kStarting, Step::kNone, 0, 0);
  ConnectStdio(plan, up);
  CloseEverythingElse(plan, up);
  if (plan.config == nullptr) {
    // Nothing to run: `create` is allowed, `start` will refuse.
    if (!plan.attachment.die_with_parent) ::prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    Say(up.fd, Report::kReady, Step::kNone, 0, 0);
    ::close(up.fd);
    AwaitStart(plan);
    ::_exit(1);
  }
  // While no filter can forbid it.
  if (plan.personality) up.Must(::personality(*plan.personality) >= 0, Step::kPersonality);
  if (plan.memory_policy) up.Must(ApplyMemoryPolicy(*plan.memory_policy), Step::kMemoryPolicy);
  BecomeUser(plan, up);
  if (plan.attachment.die_with_parent) {
    DieWithParent(up);  // changing the user cleared it
  } else {
    ::prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
  }
  const bool late_filter = plan.seccomp && plan.config->no_new_privileges;
  const bool listener = late_filter && plan.seccomp->notifies;
  if (listener) LoadFilter(plan, up);  // while somebody is there to take the listener
  if (plan.attachment.wait_for_start) {
    errno = LookUpProgram(plan);
    up.Must(errno == 0, Step::kExec);
    Say(up.fd, Report::kReady, Step::kNone, 0, 0);
    ::close(up.fd);
    AwaitStart(plan);
    ::close(plan.start_fifo.get());  // what tells that it is only created; exec closes in no certain order
    up.fd = plan.exec_fifo.get();
    Say(up.fd, Report::kStarting, Step::kNone, 0, 0);
  }
  if (late_filter && !listener) LoadFilter(plan, up);
  Execute(plan);
  up.Fail(Step::kExec);
}

}  // namespace gantry
