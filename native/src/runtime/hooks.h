// Programs of the host that are run at points of a container's life (runtime-spec, "POSIX-platform Hooks").
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/field.h"

namespace gantry {

struct HookConfig {
  std::string path;
  std::vector<std::string> args;  // with the name
  std::vector<std::string> env;
  std::optional<int> timeout_seconds;
};

struct Hooks {
  std::vector<HookConfig> prestart;
  std::vector<HookConfig> create_runtime;
  std::vector<HookConfig> create_container;
  std::vector<HookConfig> start_container;
  std::vector<HookConfig> poststart;
  std::vector<HookConfig> poststop;

  /// Those that are run while the first process waits, between its mounts and its root.
  bool AtCreate() const { return !prestart.empty() || !create_runtime.empty() || !create_container.empty(); }
  bool AtStart() const { return !start_container.empty() || !poststart.empty(); }
  bool Any() const { return AtCreate() || AtStart() || !poststop.empty(); }
};

/// Throws ConfigError.
Hooks ParseHooks(const Field& field);

/// A hook that failed, with what it said.
struct HookError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Where hooks run that belong into a container's namespaces.
struct Inside {
  int pidfd = -1;  // of a process in there; -1: the runtime's own namespaces
  std::uint64_t types = 0;
};

/// Runs them in order, each with the state document on its standard input, until one fails. `kind` is for messages.
/// Throws HookError, SysError.
void RunHooks(const std::vector<HookConfig>& hooks, const char* kind, const std::string& state,
              const Inside& inside = {});

/// What went wrong with a hook that ended by itself or out of time: nothing, or the words for it.
std::optional<std::string> HookFailure(bool in_time, bool signaled, int value, const HookConfig& hook);

/// All of them, whatever becomes of each: what fails is only told of (runtime-spec, "Lifecycle", 13).
void RunPoststop(const std::vector<HookConfig>& hooks, const std::string& state);

}  // namespace gantry
