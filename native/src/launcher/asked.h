// The few commands, and the few ways to write them, that the launcher answers by itself (client/verbs/cli-containers.ts
// has them all).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace gantry {

struct Asked {
  enum class Verb { kVersion, kPs, kLogs };

  Verb verb = Verb::kVersion;
  std::string root;  // as --root has it; empty if it was not said

  // ps
  bool all = false;
  bool quiet = false;
  bool whole = false;  // --no-trunc

  // logs
  std::string container;
  bool timestamps = false;
  std::optional<std::size_t> tail;  // all, if there is none
};

/// `words` without the program's name. Throws Unclear.
Asked ParseAsked(std::span<char* const> words);

}  // namespace gantry
