#include "monitor/status.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "core/sys.h"
#include "monitor/json_text.h"
#include "runtime/files.h"
#include "runtime/json.h"
#include "runtime/state.h"

namespace gantry {
namespace {

const char* PhaseName(ContainerStatus::Phase phase) {
  switch (phase) {
    case ContainerStatus::Phase::kCreated:
      return "created";
    case ContainerStatus::Phase::kRunning:
      return "running";
    case ContainerStatus::Phase::kPaused:
      return "paused";
    case ContainerStatus::Phase::kRestarting:
      return "restarting";
    case ContainerStatus::Phase::kExited:
      return "exited";
  }
  return "";
}

/// Of this boot; a pid of another one means nothing.
const std::string& BootId() {
  static const std::string id = [] {
    std::string text = ReadFile("/proc/sys/kernel/random/boot_id", 64);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }();
  return id;
}

std::string Member(const char* name, const std::string& value) { return ",\"" + std::string(name) + "\":" + value; }
std::string Member(const char* name, bool value) { return Member(name, std::string(value ? "true" : "false")); }
std::string Text(const char* name, const std::string& value) {
  std::string quoted;
  AppendJsonText(quoted, value);
  return Member(name, "\"" + quoted + "\"");
}
template <typename Number>
std::string Count(const char* name, Number value) {
  return Member(name, std::to_string(value));
}

std::string Object(std::string members) {
  members[0] = '{';
  return members + "}";
}

std::string PrintHealth(const Health& health) {
  std::string results;
  for (const ProbeResult& each : health.results()) {
    results += "," + Object(Text("start", each.start) + Text("end", each.end) + Count("exitCode", each.exit_code) +
                            Text("output", each.output));
  }
  if (results.empty()) results = "[";
  results[0] = '[';
  return Object(Text("status", health.status()) + Count("failingStreak", health.failing_streak()) +
                Member("log", results + "]"));
}

/// Allocated and empty: one status more than the disk has room for.
constexpr const char* kSpareFile = ".status.spare";
constexpr off_t kSpareBytes = off_t{32} * 1024;

bool IsFull(const SysError& error) { return error.code().value() == ENOSPC || error.code().value() == EDQUOT; }

/// False: there is none, or it is too small.
bool ReplaceBySpare(int folder, const std::string& document, bool durable) {
  const UniqueFd spare(::openat(folder, kSpareFile, O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  if (spare.get() < 0) return false;
  const auto size = static_cast<ssize_t>(document.size());
  return ::write(spare.get(), document.data(), document.size()) == size && ::ftruncate(spare.get(), size) == 0 &&
         (!durable || ::fdatasync(spare.get()) == 0) && ::renameat(folder, kSpareFile, folder, kStatusFile) == 0;
}

}  // namespace

void KeepSpareStatus(int folder) noexcept {
  const UniqueFd spare(::openat(folder, kSpareFile, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (spare.get() < 0 || ::fallocate(spare.get(), 0, 0, kSpareBytes) == 0) return;
  ::unlinkat(folder, kSpareFile, 0);
}

std::string PrintStatus(const ContainerStatus& status, const Health* health) {
  const pid_t monitor = ::getpid();
  std::string members =
      Count("version", 1) + Text("bootId", BootId()) +
      Member("monitor", Object(Count("pid", monitor) + Count("startTime", ProcessStartTime(monitor)))) +
      Text("phase", PhaseName(status.phase)) + Count("pid", status.pid) + Count("startTime", status.start_time) +
      Count("exitCode", status.exit_code) + Member("oomKilled", status.oom_killed) + Text("error", status.error) +
      Text("startedAt", status.started_at) + Text("finishedAt", status.finished_at) +
      Count("restartCount", status.restart_count) + Member("stoppedByUser", status.stopped_by_user) +
      Text("networkNamespace", status.network_namespace) +
      Member("log", Object(Count("lostBytes", status.log_lost_bytes) + Text("error", status.log_error)));
  if (health != nullptr) members += Member("health", PrintHealth(*health));
  return Object(std::move(members));
}

void WriteStatus(int folder, const std::string& document, bool durable) {
  try {
    ReplaceFile(folder, kStatusFile, document + "\n", 0600, durable);
  } catch (const SysError& error) {
    if (!IsFull(error) || !ReplaceBySpare(folder, document + "\n", durable)) throw;
    KeepSpareStatus(folder);  // in the room that the status before had
  }
  if (durable) checked("write the status", [&] { return ::fsync(folder); });
}

}  // namespace gantry
