#include "runtime/container.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "runtime/child.h"
#include "runtime/seccomp_listener.h"

namespace gantry {

Container::Container(const std::string& state_root, const std::string& id, const std::string& bundle,
                     const Attachment& attachment)
    : directory_(StateDirectory::Make(state_root, id)) {
  try {
    plan_ = PreparePlan(id, bundle);
    plan_->process.attachment = attachment;
    if (!plan_->config.process && !attachment.wait_for_start) {
      throw ConfigError("config.json: process: is required to start a container");
    }
    plan_->cgroup = std::make_unique<Cgroup>(CgroupPath(plan_->config.cgroups_path, id));
    Record();  // whoever finds us killed knows from now on what to take down
    if (attachment.wait_for_start) MakeFifos();
    Clone();
  } catch (...) {
    plan_.reset();
    directory_.Remove();
    throw;
  }
}

Container::~Container() {
  if (finished_) return;
  try {
    Signal(SIGKILL);
    Wait();
    Remove();
  } catch (const std::exception&) {
    // The failure that brought us here is the news.
  }
}

void Container::MakeFifos() {
  const int directory = directory_.fd();
  for (const char* name : {kStartFifo, kExecFifo}) {
    checked("make the fifos of the container", [&] { return ::mkfifoat(directory, name, 0600); });
  }
  const auto open = [&](const char* name, int flags) {
    return UniqueFd(
        checked("open the fifos of the container", [&] { return ::openat(directory, name, flags | O_CLOEXEC); }));
  };
  plan_->process.start_fifo = open(kStartFifo, O_RDWR);
  const UniqueFd reader = open(kExecFifo, O_RDONLY | O_NONBLOCK);  // without a reader there is no opening for writing
  plan_->process.exec_fifo = open(kExecFifo, O_WRONLY);
}

void Container::Clone() {
  int pipe[2];
  checked("make a pipe", [&] { return ::pipe2(pipe, O_CLOEXEC); });
  status_ = UniqueFd(pipe[0]);
  plan_->process.status = UniqueFd(pipe[1]);
  if (plan_->process.seccomp && plan_->process.seccomp->notifies) {
    checked("make a pipe", [&] { return ::pipe2(pipe, O_CLOEXEC); });
    plan_->process.go = UniqueFd(pipe[0]);
    go_ = UniqueFd(pipe[1]);
  }

  int pidfd = -1;
  clone_args args{};
  // The cgroup namespace is made by the child, after it has joined its cgroup.
  args.flags = CLONE_PIDFD | (plan_->config.namespaces & ~std::uint64_t{CLONE_NEWCGROUP});
  args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (plan_->cgroup->unified() >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(plan_->cgroup->unified());
  }
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) RunChild(*plan_);
  if (pid < 0) throw SysError(errno, "clone the container's first process");
  pid_ = static_cast<pid_t>(pid);
  pidfd_ = UniqueFd(pidfd);
  CloseChildEnds(plan_->process);
}

void Container::AwaitOutcome() {
  Report report;
  ssize_t got = 0;
  while (true) {
    got = checked("read from the container", [&] { return ::read(status(), &report, sizeof report); });
    if (got != sizeof report || report.kind != Report::kListener) break;
    SendListener(*plan_->process.seccomp, pidfd(), report.index, pid_, Describe());
    Answer();
  }
  if (got == 0) {
    // The end without a word: exec has happened, unless the child was killed before it could.
    siginfo_t info{};
    const bool ended =
        ::waitid(P_PIDFD, static_cast<id_t>(pidfd()), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
    const bool never_ran = ended && plan_->process.attachment.wait_for_start;
    if (never_ran) throw ChildError("create", ESRCH, "the container's first process was killed while it was set up");
    return;
  }
  if (got != sizeof report || report.kind == Report::kFailed) {
    throw ChildError(StepName(report.step), report.error,
                     "unable to start container process: " + gantry::Describe(*plan_, report));
  }
}

void Container::Answer() const {
  checked("tell the container to go on", [&] { return ::write(go_.get(), "1", 1); });
}

State Container::Describe() const {
  const Config& config = plan_->config;
  return {.oci_version = config.oci_version,
          .id = plan_->id,
          .pid = pid_ > 0 ? pid_ : 0,
          .start_time = pid_ > 0 ? ProcessStartTime(pid_) : 0,
          .bundle = plan_->bundle,
          .rootfs = plan_->rootfs_path,
          .created = Rfc3339Now(),
          .annotations = config.annotations,
          .cgroups = plan_->cgroup->directories()};
}

void Container::Record() { directory_.Write(Describe()); }

void Container::Keep() {
  plan_->cgroup->Keep();
  finished_ = true;
}

void Container::Signal(int signal) const {
  if (!reaped_ && pidfd_.get() >= 0) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
}

Ending Container::Wait() {
  siginfo_t info{};
  checked("wait for the container", [&] { return ::waitid(P_PIDFD, static_cast<id_t>(pidfd()), &info, WEXITED); });
  reaped_ = true;
  return {info.si_code != CLD_EXITED, info.si_status};
}

void Container::Remove() {
  RemoveCgroup(plan_->cgroup->directories());
  plan_->cgroup->Keep();
  directory_.Remove();
  finished_ = true;
}

}  // namespace gantry
