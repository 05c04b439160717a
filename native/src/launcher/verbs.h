// What the launcher answers by itself: each returns what Node would print, or throws an exception before anything is
// printed.
#pragma once

#include <string>
#include <vector>

#include "launcher/asked.h"

namespace gantry {

struct Piece {
  int descriptor;
  std::string text;
};

/// client/verbs/verb-ps.ts
std::string PsText(const Asked& asked);
/// client/verbs/verb-logs.ts: in this order.
std::vector<Piece> LogPieces(const Asked& asked);

}  // namespace gantry
