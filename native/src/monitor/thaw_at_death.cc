#include "monitor/thaw_at_death.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "core/sys.h"

namespace gantry {
namespace {

constexpr int kWish = 0;  // the only descriptor that is kept
constexpr int kOrphaned = SIGTERM;

/// Nothing that is done in it may need memory or locks: it is a fork.
[[noreturn]] void StandBy(int wish, pid_t parent) noexcept {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::prctl(PR_SET_PDEATHSIG, kOrphaned, 0, 0, 0);
  if (::dup2(wish, kWish) < 0) ::_exit(1);
  ::close_range(kWish + 1, ~0U, 0);  // the lock of the monitor among them
  sigset_t orphaned;
  ::sigemptyset(&orphaned);
  ::sigaddset(&orphaned, kOrphaned);
  while (::getppid() == parent) {
    int signal = 0;
    ::sigwait(&orphaned, &signal);
  }
  static constexpr char kThawed[] = "THAWED";
  const auto written = ::write(kWish, kThawed, sizeof kThawed - 1);
  ::_exit(written < 0 ? 1 : 0);
}

}  // namespace

ThawAtDeath::ThawAtDeath(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    const UniqueFd wish(::open((directory + "/freezer.state").c_str(), O_WRONLY | O_CLOEXEC));
    if (wish.get() < 0) continue;
    const pid_t parent = ::getpid();
    pid_ = checked("fork the process that thaws the container", [] { return ::fork(); });
    if (pid_ == 0) StandBy(wish.get(), parent);
    return;
  }
}

ThawAtDeath::~ThawAtDeath() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace gantry
