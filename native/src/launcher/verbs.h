// What the launcher does by itself: each as Node would, or it throws an exception before anything was printed or done.
#pragma once

#include <string>
#include <vector>

#include "launcher/asked.h"
#include "launcher/run_words.h"
#include "launcher/transfer/words.h"

namespace gantry {

struct Piece {
  int descriptor;
  std::string text;
};

/// client/verbs/verb-ps.ts
std::string PsText(const Asked& asked);
/// client/verbs/verb-logs.ts: in this order.
std::vector<Piece> LogPieces(const Asked& asked);
/// client/verbs/verb-exec.ts: returns the exit code. Throws an exception if nothing of it has happened, and Node is to
/// do it.
int ExecIn(const Asked& asked);

struct Outcome {
  int exit_code = 0;
  /// Words of a command of Node's that finishes it.
  std::vector<std::string> more;
  /// That one says what there is to say, and how it ends. Otherwise it says nothing.
  bool more_speaks = false;
};

/// client/verbs/verb-containers.ts, but for what they leave to more.
Outcome StopAll(const Asked& asked);
Outcome RemoveAll(const Asked& asked);
/// client/verbs/verb-system.ts
Outcome CleanUp(const Asked& asked);
/// client/verbs/verb-run.ts. Throws an exception if nothing of it has happened, and Node is to do it. `stamp`: of the
/// package.
Outcome RunContainer(const RunWords& run, const std::string& stamp);
/// client/verbs/verb-copy.ts. Throws an exception if Node is to do it, whatever has arrived by then.
Outcome TransferImage(const TransferWords& words);

}  // namespace gantry
