// gantry-runtime: an OCI runtime. Here are only the dispatch of verbs and the reporting of errors.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>

#include "runtime/log.h"
#include "runtime/options.h"
#include "runtime/plan.h"
#include "runtime/print.h"
#include "runtime/protect.h"
#include "runtime/report.h"
#include "runtime/serve.h"
#include "runtime/starter.h"
#include "runtime/state.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

constexpr int kServeSocket = 3;
constexpr int kExecFailed = 255;  // as runc: not to be taken for an exit code of the program

struct Verb {
  std::string_view name;
  bool enters;  // makes processes of containers, which must find nothing of ours to write to
  int (*run)(const CommandLine&);
};

constexpr Verb kVerbs[] = {
    {"run", true, RunVerb},
    {"create", true, CreateVerb},
    {"exec", true, ExecVerb},
    {"start", false, StartVerb},
    {"serve", true, [](const CommandLine& line) { return Serve(kServeSocket, line.root, line.single); }},
    {"state", false, StateVerb},
    {"kill", false, KillVerb},
    {"delete", false, DeleteVerb},
    {"pause", false, PauseVerb},
    {"resume", false, ResumeVerb},
    {"update", false, UpdateVerb},
    {"list", false, ListVerb},
    {"ps", false, PsVerb},
    {"events", false, EventsVerb},
    {"features", false, FeaturesVerb},
    {"spec", false, SpecVerb},
    {"seccomp", false, SeccompVerb},
    {"monitor", true, MonitorVerb},
    {"namespace", false, NamespaceVerb},
};

/// Descriptors 0 to 2 must be something, or a file of ours would become the container's standard output.
void EnsureStdio() {
  int fd = 0;
  do {
    fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  } while (fd >= 0 && fd < 3 && ::fcntl(fd, F_SETFD, 0) == 0);
  if (fd >= 3) ::close(fd);
}

void CheckKernel() {
  utsname name{};
  int major = 0;
  int minor = 0;
  if (::uname(&name) != 0 || std::sscanf(name.release, "%d.%d", &major, &minor) != 2) return;
  if (major < 5 || (major == 5 && minor < 14)) {
    throw StateError("Linux 5.14 or newer is needed, this is " + std::string(name.release));
  }
}

int Dispatch(const CommandLine& line) {
  if (line.verb == "--version") {
    PrintOut("gantry-runtime version 0.1.0\ncommit: none\nspec: 1.3.0\n");
    return 0;
  }
  if (line.verb == "--help" || line.verb.empty()) {
    (line.verb.empty() ? PrintError : PrintOut)(kHelp);
    return line.verb.empty() ? 1 : 0;
  }
  if (line.verb == "checkpoint" || line.verb == "restore") {
    throw UsageError(line.verb + " is not supported: gantry-runtime cannot save the processes of a container");
  }
  const auto verb = std::ranges::find(kVerbs, line.verb, &Verb::name);
  if (verb == std::end(kVerbs)) throw UsageError("unknown verb " + line.verb + " (see --help)");
  if (!verb->enters) return verb->run(line);
  CheckKernel();
  ProtectSelf(line.argv);
  return verb->run(line);
}

int Main(int argc, char** argv) {
  EnsureStdio();
  ::signal(SIGCHLD, SIG_DFL);  // of whoever ignores it no child can be waited for
  ::signal(SIGPIPE, SIG_IGN);  // whoever is gone is told so by EPIPE; the container gets the default back
  CommandLine line;
  try {
    ParseCommandLine(argc, argv, line);
    LogTo(line.log, line.log_json);
    const int code = Dispatch(line);
    LogSuccess();
    return code;
  } catch (const std::exception& error) {
    LogTo(line.log, line.log_json);  // as far as the command line could be read
    const std::string message = Explain(error);
    LogFailure("gantry-runtime" + (line.verb.empty() ? "" : " " + line.verb), message);
    if (line.starter) return TellFailure(message);
    return line.verb == "exec" ? kExecFailed : 1;
  }
}

}  // namespace
}  // namespace gantry

int main(int argc, char** argv) { return gantry::Main(argc, argv); }
