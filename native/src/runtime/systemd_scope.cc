#include "runtime/systemd_scope.h"

#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <iterator>

#include "runtime/systemd_limits.h"
#include "runtime/systemd_manager.h"

namespace gantry {
namespace {

/// It ends with whoever made it, and holds nothing of his.
[[noreturn]] void Hold(pid_t parent) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::close_range(0, ~0U, 0);
  while (::getppid() == parent) ::pause();
  ::_exit(0);
}

}  // namespace

ScopePlan PlanScope(const Config& config, const std::string& id) {
  ScopePlan plan = ParseScope(config.cgroups_path, id);
  std::vector<UnitProperty>& properties = plan.properties;
  properties = {{"Description", "container " + id},
                {"Slice", plan.slice},
                {"Delegate", true},
                {"DefaultDependencies", false},
                {"CollectMode", std::string("inactive-or-failed")},  // or one out of memory stays until it is reset
                {"MemoryAccounting", true},
                {"CPUAccounting", true},
                {"IOAccounting", true},
                {"TasksAccounting", true}};
  for (auto add : {LimitProperties(config.resources), AnnotatedProperties(config.annotations)}) {
    std::move(add.begin(), add.end(), std::back_inserter(properties));
  }
  return plan;
}

Scope::Scope(const ScopePlan& plan) : name_(plan.name) {
  SystemdManager manager(plan.name.of_user);
  const pid_t parent = ::getpid();
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_PIDFD;
  args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) throw SysError(errno, "clone the process that holds the cgroup");
  if (pid == 0) Hold(parent);
  holder_ = static_cast<pid_t>(pid);
  holder_fd_ = UniqueFd(pidfd);
  try {
    std::vector<UnitProperty> properties = plan.properties;
    properties.push_back({"PIDs", std::vector<std::uint32_t>{static_cast<std::uint32_t>(pid)}});
    manager.Start(name_.unit, properties);
  } catch (...) {
    Release();
    throw;
  }
}

Scope::~Scope() { Release(); }

void Scope::Release() {
  if (holder_ < 0) return;
  ::syscall(SYS_pidfd_send_signal, holder_fd_.get(), SIGKILL, nullptr, 0);
  siginfo_t info{};
  while (::waitid(P_PIDFD, static_cast<id_t>(holder_fd_.get()), &info, WEXITED) < 0 && errno == EINTR) {
  }
  holder_ = -1;
}

void RemoveScope(const ScopeName& scope) { SystemdManager(scope.of_user).Stop(scope.unit); }

void EnterScope(const ScopeName& scope, pid_t pid) { SystemdManager(scope.of_user).Attach(scope.unit, pid); }

void LimitScope(const ScopeName& scope, const Resources& resources) {
  SystemdManager(scope.of_user).SetProperties(scope.unit, LimitProperties(resources));
}

}  // namespace gantry
