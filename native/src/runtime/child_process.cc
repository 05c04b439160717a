#include "runtime/child_process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "runtime/process_child.h"
#include "runtime/time_namespace.h"

namespace gantry {

void ChildProcess::Prepare(ProcessPlan& plan, bool with_answers) {
  int pipe[2];
  checked("make a pipe", [&] { return ::pipe2(pipe, O_CLOEXEC); });
  status_ = UniqueFd(pipe[0]);
  plan.status = UniqueFd(pipe[1]);
  if (!with_answers) return;
  checked("make a pair of sockets", [&] { return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pipe); });
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
  } else {
    // Our ends, or the child would not see that we are gone: it would be waiting for itself.
    ::close(status_.get());
    if (go_.get() >= 0) ::close(go_.get());
  }
  return pid;
}

long ChildProcess::ForkThrough(const ProcessPlan& plan, const std::vector<NamespaceEntry>& entries, std::uint64_t flags,
                               const Birthplace& place) {
  int ends[2];
  checked("make a pipe", [&] { return ::pipe2(ends, O_CLOEXEC); });
  const UniqueFd told(ends[0]);
  UniqueFd tell(ends[1]);
  UniqueFd moved;  // readable when it has been, and by its end if it could not be
  UniqueFd say_moved;
  const auto fork = [&] {
    try {
      return Fork(0, place.cgroup);
    } catch (const SysError& error) {
      if (!place.move || error.code().value() != EACCES) throw;
      checked("make a pipe", [&] { return ::pipe2(ends, O_CLOEXEC); });
      moved = UniqueFd(ends[0]);
      say_moved = UniqueFd(ends[1]);
      return Fork(0, -1);
    }
  };
  if (fork() == 0) {
    const Channel up{plan.status.get()};
    char byte = 0;
    if (moved.get() >= 0) {
      ::close(say_moved.release());
      if (::read(moved.get(), &byte, 1) != 1) ::_exit(1);
    }
    SetAsHost(plan, up);
    for (const NamespaceEntry& entry : entries) {
      up.Must(::setns(entry.fd, static_cast<int>(entry.types)) == 0, Step::kNamespace, entry.index);
    }
    if (plan.new_time) {
      ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // or its /proc is root's alone; nothing of the container sees it
      up.Must(BearInNewTime(plan.time_offsets), Step::kTimeNamespace);
      ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
    clone_args args{};
    args.flags = CLONE_PARENT | flags;  // a child of ours, like any other
    const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
    if (pid == 0) return 0;
    up.Must(pid > 0, Step::kClone);
    ::_exit(::write(tell.get(), &pid, sizeof pid) == sizeof pid ? 0 : 1);
  }
  tell = UniqueFd();
  if (moved.get() >= 0) {
    try {
      place.move(pid_);
    } catch (...) {
      say_moved = UniqueFd();
      Wait();
      throw;
    }
    checked("let a process go on", [&] { return ::write(say_moved.get(), "1", 1); });
  }
  pid_t pid = -1;
  const bool born = ::read(told.get(), &pid, sizeof pid) == sizeof pid;
  Wait();
  reaped_ = false;
  pid_ = born ? pid : -1;  // if not, the reason is in the report
  pidfd_ = UniqueFd();
  if (born) {
    pidfd_ = UniqueFd(
        static_cast<int>(checked("open the first process", [&] { return ::syscall(SYS_pidfd_open, pid, 0); })));
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

UniqueFd ChildProcess::Take() const {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr packet{};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  packet.msg_control = control;
  packet.msg_controllen = sizeof control;
  checked("take a descriptor of the container", [&] { return ::recvmsg(go_.get(), &packet, MSG_CMSG_CLOEXEC); });
  const cmsghdr* rights = CMSG_FIRSTHDR(&packet);
  if (rights == nullptr || rights->cmsg_type != SCM_RIGHTS)
    throw SysError(EPROTO, "take a descriptor of the container");
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
  return UniqueFd(fd);
}

void ChildProcess::Signal(int signal) const {
  if (!reaped_ && pidfd_.get() >= 0) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
}

Ending ChildProcess::Wait() {
  if (pid_ < 0) return {false, 1};  // it was never born
  siginfo_t info{};
  checked("wait for the container", [&] { return ::waitid(P_PIDFD, static_cast<id_t>(pidfd()), &info, WEXITED); });
  reaped_ = true;
  return {info.si_code != CLD_EXITED, info.si_status};
}

}  // namespace gantry
