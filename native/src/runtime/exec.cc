#include "runtime/exec.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "core/own_ids.h"
#include "runtime/cgroup_freezer.h"
#include "runtime/console_inside.h"
#include "runtime/inside.h"
#include "runtime/process_child.h"
#include "runtime/seccomp_listener.h"
#include "runtime/systemd_scope.h"

namespace gantry {
namespace {

constexpr long kDevptsMagic = 0x1cd1;

/// The container's devpts, by no path that it could bend: what it is, the kernel says (CVE-2025-52565).
UniqueFd OpenDevpts(const State& state) {
  const std::string root_path = "/proc/" + std::to_string(state.pid) + "/root";
  const UniqueFd root(checked("open the root of the container",
                              [&] { return ::open(root_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
  UniqueFd devpts(OpenInside(root.get(), "/dev/pts", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS));
  struct statfs fs{};
  if (devpts.get() < 0 || ::fstatfs(devpts.get(), &fs) != 0) throw SysError(errno, "open /dev/pts of the container");
  if (fs.f_type != kDevptsMagic) throw SysError(ENOTTY, "open /dev/pts of the container");
  return devpts;
}

void EnterNamespaces(const ExecPlan& plan, const Channel& up) noexcept {
  SetPriorities(plan.plan, up);
  SetAppArmorProfile(plan.plan, up);
  // The pid namespace we were born into already. The mounts take root and working directory along.
  const auto types = static_cast<int>(plan.namespaces & ~std::uint64_t{CLONE_NEWPID});
  up.Must(types == 0 || ::setns(plan.target.get(), types) == 0, Step::kNamespace);
}

/// Where nothing is asked for, the container's cgroup alone says which CPUs there are.
void SetAffinity(const Scheduling& scheduling, const Channel& up) noexcept {
  if (!scheduling.final_cpus.empty()) {
    up.Must(RunOn(scheduling.final_cpus), Step::kAffinity);
  } else if (scheduling.initial_cpus.empty()) {
    ForgetAffinity();
  }
}

/// In the child: system calls only.
[[noreturn]] void BecomeMember(ExecPlan& plan) noexcept {
  const Channel up{plan.plan.status.get()};
  DieWithParent(up);
  ResetSignals();
  JoinCgroups(plan.cgroup.joins, up);
  SetAffinity(plan.process.scheduling, up);
  if (!plan.InUserNamespace()) EnterNamespaces(plan, up);  // else whoever we were born of has done it
  StartSession(plan.plan, up);
  ::umask(0);
  if (plan.plan.console_inside) {
    const int root = ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    OpenConsoleInside(plan.plan, root, up);
    ::close(root);
  }
  BecomeProgram(plan.plan, up);
}

std::string DescribeFailure(const ExecPlan& plan, const Report& report) {
  return DescribeProcess(plan.process, report)
      .value_or(std::string(StepName(report.step)) + ": " + ErrorText(report.error));
}

}  // namespace

State FindExecTarget(const StateDirectory& directory, bool ignore_paused) {
  const auto state = directory.Read();
  const Status status = directory.Find(state);
  if (status == Status::kStopped) throw StateError("cannot exec in a stopped container");
  if (status == Status::kCreating) throw StateError("cannot exec in a container that is being created");
  if (!ignore_paused && IsFrozen(state->cgroups)) {
    throw StateError("cannot exec in a paused container (use --ignore-paused to override)");
  }
  return *state;
}

Exec::Exec(const State& state, std::unique_ptr<ExecPlan> plan, const Attachment& attachment)
    : state_(state), plan_(std::move(plan)) {
  plan_->target = OpenProcess(state_);
  if (plan_->target.get() < 0) throw StateError("cannot exec in a stopped container");
  plan_->namespaces = ForeignNamespaces(state_.pid);
  plan_->cgroup = OpenCgroup(plan_->cgroups.empty() ? state_.cgroups : plan_->cgroups);
  Scheduling& scheduling = plan_->process.scheduling;
  if (scheduling.initial_cpus.empty() && scheduling.final_cpus.empty() && plan_->config.process) {
    scheduling.initial_cpus = plan_->config.process->scheduling.initial_cpus;
    scheduling.final_cpus = plan_->config.process->scheduling.final_cpus;
  }
  PrepareProcess(plan_->plan, plan_->process, plan_->config);
  if (!plan_->program.empty()) plan_->plan.programs = {plan_->program};
  plan_->plan.attachment = attachment;
  plan_->plan.keyring = "_ses." + state_.id;
  const bool inside = plan_->InUserNamespace();
  plan_->plan.groups_may_stay = (inside || !OwnIds::Get().MayChangeGroups()) && plan_->process.additional_gids.empty();
  plan_->plan.console_inside = inside && plan_->process.terminal;
  if (plan_->process.terminal && !inside) PrepareConsole(plan_->plan, OpenDevpts(state_).get());

  const bool pids = (plan_->namespaces & CLONE_NEWPID) != 0;
  const bool asks = plan_->plan.console_inside || (plan_->plan.seccomp && plan_->plan.seccomp->notifies);
  const auto become = [&] { BecomeMember(*plan_); };
  const RunningOn initially(scheduling.initial_cpus);
  try {
    Birthplace place{.cgroup = plan_->cgroup.unified.get()};
    if (state_.scope) place.move = [this](pid_t pid) { EnterScope(*state_.scope, pid); };
    if (inside) {
      process_.CloneThrough(plan_->plan, {{plan_->target.get(), plan_->namespaces}}, 0, place, asks, become);
      return;
    }
    if (pids) place.pid_namespace = plan_->target.get();
    process_.Clone(plan_->plan, 0, place, asks, become);
  } catch (const SysError& error) {
    // A pid namespace whose first process has ended takes no more.
    if (pids && error.code().value() == ENOMEM && OpenProcess(state_).get() < 0) {
      throw StateError("cannot exec in a stopped container");
    }
    throw;
  }
}

Exec::~Exec() {
  if (kept_) return;
  process_.Signal(SIGKILL);
  try {
    process_.Wait();
  } catch (const SysError&) {
    // Somebody has waited for it already.
  }
}

void Exec::AwaitOutcome() {
  bool starting = false;
  while (const auto report = process_.Hear()) {
    starting = starting || report->kind == Report::kStarting;
    if (report->kind == Report::kConsole) {
      plan_->plan.console_master = process_.Take();
      SetConsoleSize(plan_->plan);
      process_.Answer();
    } else if (report->kind == Report::kListener) {
      SendListener(*plan_->plan.seccomp, process_.pidfd(), report->index, process_.pid(), state_);
      process_.Answer();
    } else if (report->kind == Report::kFailed) {
      throw ChildError(StepName(report->step), report->error,
                       "exec failed: unable to start container process: " + DescribeFailure(*plan_, *report));
    }
  }
  if (!starting) throw StateError("cannot exec in a stopped container");  // it took the new process along
}

}  // namespace gantry
