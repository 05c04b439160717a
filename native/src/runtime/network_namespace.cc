#include "runtime/network_namespace.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace gantry {
namespace {

constexpr std::size_t kStackBytes = 16 * 1024;

struct Made {
  const char* step = nullptr;  // that failed
  int error = 0;
  int fd = -1;
};

/// In a child that shares our memory and our descriptors, while we wait: system calls only.
int Make(void* argument) noexcept {
  Made& made = *static_cast<Made*>(argument);
  if (!RaiseLoopback()) {
    made = {"bring up the loopback interface", errno, -1};
    return 0;
  }
  const int fd = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  made = {fd < 0 ? "open the new network namespace" : nullptr, errno, fd};
  return 0;
}

}  // namespace

bool RaiseLoopback() noexcept {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  ifreq request{};
  ::memcpy(request.ifr_name, "lo", 3);
  request.ifr_flags = IFF_UP;
  const bool raised = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  const int error = errno;
  ::close(fd);
  errno = error;
  return raised;
}

// We stay where we are: who is not the host's root could not come back to its network.
UniqueFd MakeNetworkNamespace() {
  alignas(16) char stack[kStackBytes];
  Made made;
  const pid_t child = checked("make a network namespace", [&] {
    return ::clone(Make, stack + sizeof stack, CLONE_NEWNET | CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &made);
  });
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (made.step != nullptr) throw SysError(made.error, made.step);
  if (made.fd < 0) throw SysError(ECHILD, "make a network namespace");  // it was killed
  return UniqueFd(made.fd);
}

}  // namespace gantry
