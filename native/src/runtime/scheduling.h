// Which processors a process runs on, and before whom: process.scheduler, .ioPriority and .execCPUAffinity.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/field.h"
#include "runtime/number_list.h"

namespace gantry {

/// What sched_setattr(2) takes; the C library has no word for it.
struct SchedulerAttributes {
  std::uint32_t size = 56;  // SCHED_ATTR_SIZE_VER1
  std::uint32_t policy = 0;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime = 0;
  std::uint64_t deadline = 0;
  std::uint64_t period = 0;
  std::uint32_t least_utilization = 0;
  std::uint32_t most_utilization = 0;
};

struct Scheduling {
  std::optional<SchedulerAttributes> scheduler;
  std::optional<int> io_priority;  // as ioprio_set(2) takes it
  NumberSet initial_cpus;          // exec: until it is in the container's cgroup; empty: as they are
  NumberSet final_cpus;            // exec: from then on; empty: as they are

  /// Whether children of a process with this scheduler can have it, too.
  bool Inherited() const;
};

/// Reads those properties of `process`. Throws ConfigError.
Scheduling ParseScheduling(const Field& process);

/// For the calling process. False with errno set on failure. System calls only.
bool ApplyScheduler(const Scheduling& scheduling) noexcept;
bool ApplyIoPriority(const Scheduling& scheduling) noexcept;

/// Where this process was pinned to by whoever started it no longer counts: the cgroup says which CPUs it may have.
void ForgetAffinity() noexcept;
/// False with errno set where none of those CPUs is to be had.
bool RunOn(const NumberSet& cpus) noexcept;

/// While it lives, this process and what it clones run on those CPUs only; none: where they run now. Throws SysError.
class RunningOn {
 public:
  explicit RunningOn(const NumberSet& cpus);
  ~RunningOn();
  RunningOn(const RunningOn&) = delete;
  RunningOn& operator=(const RunningOn&) = delete;

 private:
  NumberSet before_;
};

}  // namespace gantry
