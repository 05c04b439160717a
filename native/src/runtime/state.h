// What is known about a container between two commands: one directory per container under the state root.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/sys.h"
#include "runtime/systemd_unit.h"

namespace gantry {

/// A failure in the words that docker, containerd and podman look for.
struct StateError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct State {
  std::string oci_version;
  std::string id;
  pid_t pid = 0;                 // 0 until there is a process
  std::uint64_t start_time = 0;  // of that process, in ticks since boot: a pid alone may mean somebody else; 0 if it
                                 // had ended before it was looked at
  std::string bundle;
  std::string rootfs;
  std::string created;  // RFC 3339
  std::vector<std::pair<std::string, std::string>> annotations;
  std::vector<std::string> cgroups;
  std::optional<ScopeName> scope;  // where systemd has made them
};

enum class Status { kCreating, kCreated, kRunning, kPaused, kStopped };
const char* StatusName(Status status);

inline constexpr const char* kStartFifo = "start.fifo";  // `start` writes here
inline constexpr const char* kExecFifo = "exec.fifo";    // and reads here how it went

class StateDirectory {
 public:
  /// Exactly one of several callers succeeds. Throws StateError, SysError.
  static StateDirectory Make(const std::string& root, const std::string& id);
  static StateDirectory Open(const std::string& root, const std::string& id);

  int fd() const { return directory_.get(); }
  const std::string& id() const { return id_; }
  /// One command at a time works on a container.
  void Lock() const;
  void Write(const State& state) const;
  /// The configuration as it is at create: later changes of the bundle change nothing (runtime-spec, "create").
  void WriteConfig(const std::string& document) const;
  std::string ReadConfig() const;
  /// Nothing if the container is only beginning to be created.
  std::optional<State> Read() const;
  Status Find(const std::optional<State>& state) const;
  /// As Find, and whether a living one is frozen, which costs a look at its cgroup.
  Status FindPaused(const std::optional<State>& state) const;
  void Remove() const;

 private:
  StateDirectory(std::string root, std::string id, UniqueFd directory)
      : root_(std::move(root)), id_(std::move(id)), directory_(std::move(directory)) {}

  std::string root_;
  std::string id_;
  UniqueFd directory_;
};

/// The start time of a living process; 0 if there is none (a zombie counts as none).
std::uint64_t ProcessStartTime(pid_t pid);

/// A descriptor (pidfd) of the recorded process itself, never of one that got its number later; -1 if it is gone.
UniqueFd OpenProcess(const State& state);

/// The state document of the specification, with what runc adds to it.
std::string PrintState(const State& state, Status status);

std::string Rfc3339Now();

}  // namespace gantry
