#include "runtime/protect.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "core/defence.h"
#include "core/sys.h"
#include "runtime/mounts.h"

extern char** environ;

namespace gantry {
namespace {

constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

bool IsProtected(int self) {
  struct statvfs fs{};
  if (::fstatvfs(self, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0) return true;
  const int seals = ::fcntl(self, F_GET_SEALS);
  return seals >= 0 && (seals & kSeals) == kSeals;
}

/// Opening the clone for writing fails with EROFS, for ever: no path leads to this mount, so nobody can remount it.
UniqueFd ReadOnlyClone(int self) {
  UniqueFd clone(CloneFile(self));
  if (clone.get() >= 0 && !SetAttributes(clone.get(), MOUNT_ATTR_RDONLY, 0, 0, false)) return UniqueFd();
  return clone;
}

UniqueFd SealedCopy(int self) {
  UniqueFd copy(static_cast<int>(checked("make a sealed copy of the runtime", [] {
    return ::syscall(SYS_memfd_create, "gantry-runtime", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  })));
  while (checked("copy the runtime", [&] { return ::sendfile(copy.get(), self, nullptr, 1U << 30); }) > 0) {
  }
  checked("seal the runtime", [&] { return ::fcntl(copy.get(), F_ADD_SEALS, kSeals); });
  return copy;
}

}  // namespace

void ProtectSelf(char** argv) {
  if (Has(Defence::kNotDumpable)) {
    checked("become non-dumpable", [] { return ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); });
  }
  if (!Has(Defence::kReadOnlySelf)) return;
  const UniqueFd self(
      checked("open the runtime itself", [] { return ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC); }));
  if (IsProtected(self.get())) return;
  UniqueFd image = ReadOnlyClone(self.get());
  if (image.get() < 0) image = SealedCopy(self.get());
  ::syscall(SYS_execveat, image.get(), "", argv, environ, AT_EMPTY_PATH);
  throw SysError(errno, "execute the protected copy of the runtime");
}

}  // namespace gantry
