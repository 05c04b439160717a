// Standard streams that nobody gave us.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "core/sys.h"

namespace gantry {

/// A descriptor of ours must not become anybody's standard input or output. Throws SysError.
inline void EnsureStandardStreams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) checked("open /dev/null", [] { return ::open("/dev/null", O_RDWR); });
  }
}

}  // namespace gantry
