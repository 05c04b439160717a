#include "runtime/child_process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace gantry {

void ChildProcess::Prepare(ProcessPlan& plan, bool with_answers) {
  int pipe[2];
  checked("make a pipe", [&] { return ::pipe2(pipe, O_CLOEXEC); });
  status_ = UniqueFd(pipe[0]);
  plan.status = UniqueFd(pipe[1]);
  if (!with_answers) return;
  checked("make a pipe", [&] { return ::pipe2(pipe, O_CLOEXEC); });
  plan.go = UniqueFd(pipe[0]);
  go_ = UniqueFd(pipe[1]);
}

long ChildProcess::Fork(std::uint64_t flags, int cgroup) {
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_PIDFD | flags;
  args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(cgroup);
  }
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) throw SysError(errno, "clone a process of the container");
  if (pid > 0) {
    pid_ = static_cast<pid_t>(pid);
    pidfd_ = UniqueFd(pidfd);
  }
  return pid;
}

std::optional<Report> ChildProcess::Hear() const {
  Report report;
  const ssize_t got = checked("read from the container", [&] { return ::read(status(), &report, sizeof report); });
  if (got == 0) return std::nullopt;
  if (got != sizeof report) throw SysError(EPROTO, "read from the container");
  return report;
}

void ChildProcess::Answer() const {
  checked("tell the container to go on", [&] { return ::write(go_.get(), "1", 1); });
}

bool ChildProcess::HasEnded() const {
  siginfo_t info{};
  return ::waitid(P_PIDFD, static_cast<id_t>(pidfd()), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

void ChildProcess::Signal(int signal) const {
  if (!reaped_ && pidfd_.get() >= 0) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
}

Ending ChildProcess::Wait() {
  siginfo_t info{};
  checked("wait for the container", [&] { return ::waitid(P_PIDFD, static_cast<id_t>(pidfd()), &info, WEXITED); });
  reaped_ = true;
  return {info.si_code != CLD_EXITED, info.si_status};
}

}  // namespace gantry
