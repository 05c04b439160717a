// pause and resume.
#include "runtime/cgroup_freezer.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

int Set(const CommandLine& line, bool frozen) {
  if (line.arguments.size() != 1) throw UsageError(line.verb + " needs exactly one argument: the container's ID");
  const StateDirectory directory = StateDirectory::Open(line.root, line.arguments[0]);
  directory.Lock();
  const auto state = directory.Read();
  const Status status = directory.FindPaused(state);
  if (frozen && status != Status::kRunning && status != Status::kCreated) throw StateError("container not running");
  if (!frozen && status != Status::kPaused) throw StateError("container not paused");
  Freeze(state->cgroups, frozen);
  return 0;
}

}  // namespace

int PauseVerb(const CommandLine& line) { return Set(line, true); }
int ResumeVerb(const CommandLine& line) { return Set(line, false); }

}  // namespace gantry
