// A pipe, both ends ours.
#pragma once

#include "core/sys.h"

namespace gantry {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
  /// Throws SysError.
  Pipe();
  /// For a process's standard input or output: it may open it again by /dev/stdout, whoever it runs as. No path but
  /// those of its holders leads to a pipe. Throws SysError.
  void LetAnyUserOpen() const;
};

}  // namespace gantry
