#include "runtime/child.h"

#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/defence.h"
#include "runtime/network_namespace.h"
#include "runtime/rootfs.h"

namespace gantry {
namespace {

void JoinNamespaces(const Plan& plan, const Channel& up) noexcept {
  for (std::size_t i = 0; i < plan.config.joined.size(); ++i) {
    const JoinedNamespace& joined = plan.config.joined[i];
    if (joined.type == CLONE_NEWPID) continue;  // we were born into it
    up.Must(::setns(joined.fd.get(), static_cast<int>(joined.type)) == 0, Step::kNamespace, static_cast<int>(i));
  }
}

/// While /proc is still the host's: no path of the container is ever trusted with these (CVE-2025-52881).
void WriteSysctl(const Plan& plan, const Channel& up) noexcept {
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

}  // namespace

void RunChild(Plan& plan) noexcept {
  const Channel up{plan.process.status.get()};
  DieWithParent(up);
  ResetSignals();
  JoinCgroups(plan.cgroup->joins(), up);
  ForgetAffinity();
  // Only now: a cgroup namespace has its root where its maker is.
  if ((plan.config.namespaces & CLONE_NEWCGROUP) != 0) {
    up.Must(::unshare(CLONE_NEWCGROUP) == 0, Step::kCgroupNamespace);
  }
  if (plan.UserNamespace() < 0) {  // else whoever we were born of has done both
    JoinNamespaces(plan, up);
    SetPriorities(plan.process, up);
  }
  SetAppArmorProfile(plan.process, up);
  if (Has(Defence::kHostProc)) WriteSysctl(plan, up);
  SetNames(plan, up);
  if ((plan.config.namespaces & CLONE_NEWNET) != 0) up.Must(RaiseLoopback(), Step::kLoopback);
  StartSession(plan.process, up);
  ::umask(0);
  EnterRootfs(plan, up);
  if (!Has(Defence::kHostProc)) WriteSysctl(plan, up);
  BecomeProgram(plan.process, up);
}

}  // namespace gantry
