// One function for each verb. Each returns the exit code and throws what went wrong.
#pragma once

#include "runtime/json.h"
#include "runtime/options.h"
#include "runtime/state.h"

namespace gantry {

int RunVerb(const CommandLine& line);
int CreateVerb(const CommandLine& line);
int StartVerb(const CommandLine& line);
int StateVerb(const CommandLine& line);
int KillVerb(const CommandLine& line);
int DeleteVerb(const CommandLine& line);
int ExecVerb(const CommandLine& line);
int PauseVerb(const CommandLine& line);
int ResumeVerb(const CommandLine& line);
int UpdateVerb(const CommandLine& line);
int ListVerb(const CommandLine& line);
int PsVerb(const CommandLine& line);
int EventsVerb(const CommandLine& line);
int FeaturesVerb(const CommandLine& line);
int SpecVerb(const CommandLine& line);
int SeccompVerb(const CommandLine& line);
int MonitorVerb(const CommandLine& line);
int NamespaceVerb(const CommandLine& line);

}  // namespace gantry
