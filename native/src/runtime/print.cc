#include "runtime/print.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace gantry {
namespace {

bool Write(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(fd, text.data(), text.size());
    if (put < 0 && errno == EAGAIN) {  // somebody who shares it does not want to wait; we do
      pollfd writable{fd, POLLOUT, 0};
      ::poll(&writable, 1, -1);
    } else if (put < 0 && errno != EINTR) {
      return false;
    }
    if (put > 0) text.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

}  // namespace

bool PrintOut(std::string_view text) { return Write(STDOUT_FILENO, text); }
bool PrintError(std::string_view text) { return Write(STDERR_FILENO, text); }

}  // namespace gantry
