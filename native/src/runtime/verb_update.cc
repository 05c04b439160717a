// update: other limits for a container that runs.
#include <unistd.h>

#include "runtime/files.h"
#include "runtime/limits.h"
#include "runtime/verbs.h"

namespace gantry {

int UpdateVerb(const CommandLine& line) {
  if (line.arguments.size() != 1) throw UsageError("update needs exactly one argument: the container's ID");
  if (line.resources_file.empty()) {
    throw UsageError("update needs --resources FILE, or - for standard input: linux.resources of a config.json");
  }
  const std::string text = line.resources_file == "-" ? ReadAll(STDIN_FILENO, kMaxJsonBytes, "standard input")
                                                      : ReadFile(line.resources_file, kMaxJsonBytes);
  const Json json = ParseJson(text);
  const Resources resources = ParseResources(Field(&json, "linux.resources"));
  const StateDirectory directory = StateDirectory::Open(line.root, line.arguments[0]);
  directory.Lock();
  const auto state = directory.Read();
  const Status status = directory.Find(state);
  if (status != Status::kRunning && status != Status::kCreated) throw StateError("container not running");
  ApplyResources(resources, state->cgroups);
  return 0;
}

}  // namespace gantry
