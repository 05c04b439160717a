#include "launcher/like_node.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

#include "core/sys.h"

namespace gantry {

void BeLikeNode() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) checked("open /dev/null", [] { return ::open("/dev/null", O_RDWR); });
  }
  constexpr rlim_t kMostWithoutEnd = 1U << 20;
  rlimit files{};
  checked("ask for limits", [&] { return ::getrlimit(RLIMIT_NOFILE, &files); });
  files.rlim_cur = files.rlim_max == RLIM_INFINITY ? kMostWithoutEnd : files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::signal(SIGCHLD, SIG_DFL);
}

}  // namespace gantry
