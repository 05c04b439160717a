// The parts of a monitor that need no container, for the tests: one verb each.
#include <fcntl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "monitor/health.h"
#include "monitor/log_file.h"
#include "monitor/restart.h"

namespace {

/// "%41" is "A".
std::string Unescape(const char* text) {
  std::string bytes;
  for (; *text != '\0'; ++text) {
    if (*text != '%') {
      bytes += *text;
      continue;
    }
    bytes += static_cast<char>(strtol(std::string(text + 1, 2).c_str(), nullptr, 16));
    text += 2;
  }
  return bytes;
}

/// log FOLDER DRIVER MAX_SIZE MAX_FILES TEXT …: TEXT to the output, or to the errors after a "!". Ends with what is
/// lost.
int Log(char** words, int count) {
  const int folder = open(words[0], O_RDONLY | O_DIRECTORY);
  gantry::LogFile log(folder, {.driver = strcmp(words[1], "plain") == 0  ? gantry::LogPlan::Driver::kPlain
                                         : strcmp(words[1], "none") == 0 ? gantry::LogPlan::Driver::kNone
                                                                         : gantry::LogPlan::Driver::kJsonFile,
                               .max_size_bytes = atol(words[2]),
                               .max_files = atoi(words[3])});
  for (int i = 4; i < count; ++i) {
    const bool errors = words[i][0] == '!';
    log.Write(errors ? gantry::LogFile::Stream::kErrors : gantry::LogFile::Stream::kOutput,
              Unescape(words[i] + (errors ? 1 : 0)));
  }
  log.End();
  return printf("%lu %s\n", static_cast<unsigned long>(log.lost_bytes()), log.error().c_str()) < 0;
}

/// restarts POLICY RETRIES (EXIT_CODE RAN_MS) …: the pauses, or "ends".
int Restarts(char** words, int count) {
  using Policy = gantry::RestartPlan::Policy;
  const Policy policy = strcmp(words[0], "always") == 0       ? Policy::kAlways
                        : strcmp(words[0], "on-failure") == 0 ? Policy::kOnFailure
                                                              : Policy::kNo;
  gantry::Restarts restarts({policy, atoi(words[1])});
  for (int i = 2; i + 1 < count; i += 2) {
    const auto pause = restarts.Next(atoi(words[i]), atol(words[i + 1]));
    printf("%s ", pause ? std::to_string(*pause).c_str() : "ends");
  }
  return printf("count %d\n", restarts.count()) < 0;
}

/// health START_PERIOD RETRIES (EXIT_CODE BEGAN_MS) …: the status after each, and the pause to the next.
int Health(char** words, int count) {
  gantry::Health health({.command = {},
                         .interval_ms = 1000,
                         .timeout_ms = 1,
                         .start_period_ms = atol(words[0]),
                         .start_interval_ms = 10,
                         .retries = atoi(words[1])});
  for (int i = 2; i + 1 < count; i += 2) {
    health.Record({"", "", atoi(words[i]), ""}, atol(words[i + 1]));
    printf("%s/%d/%ld ", health.status(), health.failing_streak(),
           static_cast<long>(health.PauseMs(atol(words[i + 1]))));
  }
  return printf("kept %zu\n", health.results().size()) < 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "log" && argc >= 6) return Log(argv + 2, argc - 2);
  if (verb == "restarts" && argc >= 4) return Restarts(argv + 2, argc - 2);
  if (verb == "health" && argc >= 4) return Health(argv + 2, argc - 2);
  return 2;
}
