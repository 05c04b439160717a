// The scope that a container's cgroup is, where systemd makes it.
#pragma once

#include <sys/types.h>

#include "core/sys.h"
#include "runtime/config.h"
#include "runtime/systemd_unit.h"

namespace gantry {

/// What the configuration asks of systemd. Throws ConfigError.
ScopePlan PlanScope(const Config& config, const std::string& id);

/// A scope that has been made, and is held by a process of ours: systemd has none without a process, and the container
/// is to be born into it with all its limits.
class Scope {
 public:
  /// Throws ChildError, SysError.
  explicit Scope(const ScopePlan& plan);
  /// Lets go of it.
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  const ScopeName& name() const { return name_; }
  /// The process that holds it; -1 once it is let go.
  pid_t holder() const { return holder_; }
  /// The container is in it. Without anybody it goes by itself.
  void Release();

 private:
  ScopeName name_;
  pid_t holder_ = -1;
  UniqueFd holder_fd_;
};

/// When its processes have ended. Throws ChildError.
void RemoveScope(const ScopeName& scope);

/// Moves a process of ours into one that is there, whatever the kernel would let us do ourselves. Throws ChildError.
void EnterScope(const ScopeName& scope, pid_t pid);

/// Other limits for one that is there. Throws ConfigError, ChildError.
void LimitScope(const ScopeName& scope, const Resources& resources);

}  // namespace gantry
