#include "runtime/console_inside.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/inside.h"

namespace gantry {
namespace {

constexpr long kDevptsMagic = 0x1cd1;

}  // namespace

void OpenConsoleInside(ProcessPlan& plan, int root, const Channel& up) noexcept {
  // By no path that the container could bend: what it is, the kernel says (CVE-2025-52565).
  const UniqueFd devpts(OpenInside(root, "/dev/pts", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS));
  struct statfs fs{};
  up.Must(devpts.get() >= 0 && ::fstatfs(devpts.get(), &fs) == 0, Step::kConsole);
  errno = ENOTTY;
  up.Must(fs.f_type == kDevptsMagic, Step::kConsole);
  const UniqueFd master(::openat(devpts.get(), "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC));
  const int unlocked = 0;
  up.Must(master.get() >= 0 && ::ioctl(master.get(), TIOCSPTLCK, &unlocked) == 0, Step::kConsole);
  plan.console = UniqueFd(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  up.Must(plan.console.get() >= 0, Step::kConsole);
  up.Must(::fchown(plan.console.get(), plan.config->uid, static_cast<gid_t>(-1)) == 0, Step::kConsole);
  up.Must(Give(plan, master.get()), Step::kConsole);
  Say(up.fd, Report::kConsole, Step::kNone, 0, 0);
  up.Must(AwaitWord(plan), Step::kConsole);
}

}  // namespace gantry
