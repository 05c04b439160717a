// The few commands, and the few ways to write them, that the launcher answers by itself (client/verbs/cli-containers.ts
// has them all).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace gantry {

struct Asked {
  enum class Verb { kVersion, kPs, kLogs, kExec, kStop, kRemove, kCleanUp };

  Verb verb = Verb::kVersion;
  std::string root;  // as --root has it; empty if it was not said

  // ps
  bool all = false;
  bool quiet = false;
  bool whole = false;  // --no-trunc

  // logs, exec
  std::string container;

  // logs
  bool timestamps = false;
  std::optional<std::size_t> tail;  // all, if there is none

  // exec
  bool interactive = false;
  bool terminal = false;
  bool detached = false;
  std::vector<std::string> environment;  // NAME=VALUE, or NAME
  std::string working_directory;         // empty: the container's
  std::string user;                      // the same
  std::vector<std::string> command;

  // stop, rm
  std::vector<std::string> containers;
  std::string seconds;  // --time: digits; empty: as it was made
  bool force = false;
  bool volumes = false;
};

/// `words` without the program's name. Throws Unclear.
Asked ParseAsked(std::span<char* const> words);

}  // namespace gantry
