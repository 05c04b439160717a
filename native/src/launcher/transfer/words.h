// The words of `gantry copy` and `gantry push` (client/verbs/cli-transfer.ts), as far as they are from a registry, or
// from the store, to a registry.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "launcher/transfer/image_name.h"

namespace gantry {

struct TransferWords {
  bool is_push = false;
  std::string root;  // as --root has it; empty if it was not said
  bool quiet = false;
  ImageName from;
  ImageName to;
  std::string called;  // what it is called at the end
};

/// `words` without the program's name. Nothing if the verb is another; throws Unclear if not all is known.
std::optional<TransferWords> ParseTransferWords(std::span<char* const> words);

}  // namespace gantry
