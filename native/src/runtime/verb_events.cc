// events: what a container uses, once or again and again until it ends, and that it lacked memory.
#include <poll.h>

#include <algorithm>
#include <chrono>

#include "runtime/oom_watch.h"
#include "runtime/print.h"
#include "runtime/stats.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

using Clock = std::chrono::steady_clock;

void Print(const State& state, const std::string& type, const std::string& data) {
  PrintOut("{\"type\": \"" + type + "\", \"id\": " + QuoteJson(state.id) + (data.empty() ? "" : ", \"data\": " + data) +
           "}\n");
}

/// Tells of each lack of memory until it is time to tell what is used. Returns whether the container still runs.
bool Watch(const State& state, int process, OomWatch& memory, Clock::time_point end) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    pollfd watched[] = {{process, POLLIN, 0}, {memory.fd(), POLLIN, 0}};
    const int ready = ::poll(watched, 2, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (memory.Happened()) Print(state, "oom", "");  // also when that was its end
    if (watched[0].revents != 0) return false;
    if (ready == 0) return true;
  }
}

}  // namespace

int EventsVerb(const CommandLine& line) {
  if (line.arguments.size() != 1) throw UsageError("events needs exactly one argument: the container's ID");
  const StateDirectory directory = StateDirectory::Open(line.root, line.arguments[0]);
  const auto state = directory.Read();
  const Status status = directory.Find(state);
  if (status != Status::kRunning && status != Status::kCreated) throw StateError("container not running");
  const UniqueFd process = OpenProcess(*state);
  if (line.stats) {
    Print(*state, "stats", PrintStats(state->cgroups));
    return 0;
  }
  OomWatch memory(state->cgroups);
  auto end = Clock::now();
  do {
    Print(*state, "stats", PrintStats(state->cgroups));
    end += std::chrono::seconds(line.interval_seconds);
  } while (process.get() >= 0 && Watch(*state, process.get(), memory, end));
  return 0;
}

}  // namespace gantry
