// events: what a container uses, once or again and again until it ends.
#include <poll.h>

#include <iostream>

#include "runtime/stats.h"
#include "runtime/verbs.h"

namespace gantry {

int EventsVerb(const CommandLine& line) {
  if (line.arguments.size() != 1) throw UsageError("events needs exactly one argument: the container's ID");
  const StateDirectory directory = StateDirectory::Open(line.root, line.arguments[0]);
  const auto state = directory.Read();
  const Status status = directory.Find(state);
  if (status != Status::kRunning && status != Status::kCreated) throw StateError("container not running");
  const UniqueFd process = OpenProcess(*state);
  pollfd ended{process.get(), POLLIN, 0};
  do {
    std::cout << "{\"type\": \"stats\", \"id\": " << QuoteJson(state->id)
              << ", \"data\": " << PrintStats(state->cgroups) << "}\n"
              << std::flush;
  } while (!line.stats && process.get() >= 0 && ::poll(&ended, 1, line.interval_seconds * 1000) == 0);
  return 0;
}

}  // namespace gantry
