#include "runtime/pipe.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace gantry {

Pipe::Pipe() {
  int ends[2];
  checked("make a pipe", [&] { return ::pipe2(ends, O_CLOEXEC); });
  read = UniqueFd(ends[0]);
  write = UniqueFd(ends[1]);
}

void Pipe::LetAnyUserOpen() const {
  checked("make a pipe", [&] { return ::fchmod(read.get(), 0666); });
}

}  // namespace gantry
