// What the launcher does by itself: each as Node would, or it throws an exception before anything was printed or done.
#pragma once

#include <string>
#include <vector>

#include "launcher/asked.h"
#include "launcher/run_words.h"

namespace gantry {

struct Piece {
  int descriptor;
  std::string text;
};

/// client/verbs/verb-ps.ts
std::string PsText(const Asked& asked);
/// client/verbs/verb-logs.ts: in this order.
std::vector<Piece> LogPieces(const Asked& asked);
/// client/verbs/verb-exec.ts: returns the exit code, if this process does not become the runtime.
int ExecIn(const Asked& asked);

struct RunResult {
  int exit_code = 0;
  std::vector<std::string> more;  // words of a command of Node's that finishes it, which says nothing
};
/// client/verbs/verb-run.ts. Throws an exception if nothing of it has happened, and Node is to do it. `stamp`: of the
/// package.
RunResult RunContainer(const RunWords& run, const std::string& stamp);

}  // namespace gantry
