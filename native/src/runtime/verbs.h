// One function for each verb. Each returns the exit code and throws what went wrong.
#pragma once

#include "runtime/options.h"

namespace gantry {

int RunVerb(const CommandLine& line);
int CreateVerb(const CommandLine& line);
int StartVerb(const CommandLine& line);
int StateVerb(const CommandLine& line);
int KillVerb(const CommandLine& line);
int DeleteVerb(const CommandLine& line);
int ExecVerb(const CommandLine& line);
int SeccompVerb(const CommandLine& line);

}  // namespace gantry
