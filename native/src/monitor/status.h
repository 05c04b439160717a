// status.json: what became of a container, as its monitor knows it; replaced as a whole at each change.
// `MonitorStatus` of native/monitor.ts is the same document.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "monitor/health.h"

namespace gantry {

inline constexpr const char* kStatusFile = "status.json";

struct ContainerStatus {
  enum class Phase {
    kCreated,
    kRunning,
    kPaused,
    kRestarting,  // it has ended, and a pause passes before it is started again
    kExited,
  };
  Phase phase = Phase::kCreated;
  pid_t pid = 0;                 // of its first process, while it has one
  std::uint64_t start_time = 0;  // of that, in ticks since boot
  int exit_code = 0;             // as a shell has it: 128 + n for a signal
  bool oom_killed = false;       // a process of it, for want of memory
  std::string error;             // why it could not be started, or what else went wrong
  std::string started_at;        // RFC 3339; "": not yet
  std::string finished_at;
  int restart_count = 0;
  bool stopped_by_user = false;
  std::string
      network_namespace;  // where the monitor holds it, as others can open it; "": the container has none of its own
  std::uint64_t log_lost_bytes = 0;
  std::string log_error;
};

/// With the boot and the monitor that it is true of, by which a reader knows whether it still is.
std::string PrintStatus(const ContainerStatus& status, const Health* health);

/// Sees to it that a status can be written when the disk is full, too: a container that ends then, or is paused, must
/// not look as if it ran. Does what can be done.
void KeepSpareStatus(int folder) noexcept;

/// `durable`: it survives a loss of power. Throws SysError.
void WriteStatus(int folder, const std::string& document, bool durable);

}  // namespace gantry
