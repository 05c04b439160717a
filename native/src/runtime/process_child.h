// What every process of a container does between clone and exec. System calls only: no allocation, no lock, no
// exception.
#pragma once

#include <cstddef>

#include "runtime/process_plan.h"

namespace gantry {

/// The way back to whoever waits for the outcome.
struct Channel {
  int fd;

  /// Reports the step and errno, and ends the process.
  [[noreturn]] void Fail(Step step, int index = 0) const noexcept;
  void Must(bool succeeded, Step step, int index = 0) const noexcept {
    if (!succeeded) Fail(step, index);
  }
};

void Say(int fd, Report::Kind kind, Step step, int error, int index) noexcept;

/// Follow the parent if it dies. It may have died already: then the pipe has no reader.
void DieWithParent(const Channel& up) noexcept;

/// The raw call: the C library keeps 32 and 33 to itself, and whoever started us may have left them ignored.
void ResetSignals() noexcept;

/// Writes to a file of the host's /proc. False with errno set on failure.
bool WriteProc(const char* path, const char* text, std::size_t length) noexcept;

/// Enters the cgroups of version 1 behind those files (cgroup_join.h).
void JoinCgroups(const std::vector<UniqueFd>& joins, const Channel& up) noexcept;

/// The OOM killer's score, the scheduler and the I/O priority, which the host's privileges may be needed for. While
/// /proc is still the host's: no path of the container is ever trusted with this (CVE-2025-52881).
void SetPriorities(const ProcessPlan& plan, const Channel& up) noexcept;

/// The profile that exec takes on; also while /proc is the host's (CVE-2019-16884).
void SetAppArmorProfile(const ProcessPlan& plan, const Channel& up) noexcept;

/// What only the host's privileges allow, for a process that is about to enter a user namespace: everything born of it
/// inherits them.
void SetAsHost(const ProcessPlan& plan, const Channel& up) noexcept;

/// Sends a descriptor to the parent, on `go`. False with errno set on failure.
bool Give(const ProcessPlan& plan, int fd) noexcept;

void StartSession(const ProcessPlan& plan, const Channel& up) noexcept;

/// Waits for the word of the parent. False with errno set if it is gone.
bool AwaitWord(const ProcessPlan& plan) noexcept;

/// The rest, inside the container: its descriptors, its user, its limits, its filter, exec. Returns never.
[[noreturn]] void BecomeProgram(const ProcessPlan& plan, Channel up) noexcept;

}  // namespace gantry
