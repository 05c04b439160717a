#include "monitor/status.h"

#include <unistd.h>

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

}  // namespace

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
  ReplaceFile(folder, kStatusFile, document + "\n", 0600, durable);
  if (durable) checked("write the status", [&] { return ::fsync(folder); });
}

}  // namespace gantry
