#include "runtime/seccomp_load.h"

#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/seccomp_compile.h"

namespace gantry {

SeccompFilter PrepareSeccomp(const SeccompProfile& profile) {
  SeccompFilter filter;
  filter.program = CompileSeccomp(profile);
  filter.notifies = profile.notifies;
  filter.listener_path = profile.listener_path;
  filter.listener_metadata = profile.listener_metadata;
  for (const SeccompFlag& row : SeccompFlags()) {
    // As runc does: who asks for no flags at all wants no mitigation that slows everything down.
    const bool wanted = profile.flags ? (*profile.flags & row.flag) != 0 : row.flag == SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    if (!wanted) continue;
    if (KernelKnowsSeccompFlag(row.flag)) {
      filter.flags |= row.flag;
    } else if (profile.flags) {
      throw ConfigError("linux.seccomp.flags: this kernel does not know " + std::string(row.name));
    }
  }
  // The one flag that is about listeners is nothing to a filter without one, and the kernel refuses it there.
  if (!filter.notifies) filter.flags &= SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  if (filter.notifies) filter.flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
  return filter;
}

bool KernelKnowsSeccompFlag(std::uint32_t flag) {
  if (flag > SECCOMP_FILTER_FLAG_NEW_LISTENER) flag |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
  // Flags are looked at before the program, which is not there.
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, nullptr) != 0 && errno == EFAULT;
}

int LoadSeccomp(const SeccompFilter& filter) noexcept {
  const sock_fprog program{static_cast<unsigned short>(filter.program.size()),
                           const_cast<sock_filter*>(filter.program.data())};
  return static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter.flags, &program));
}

}  // namespace gantry
