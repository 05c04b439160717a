#include "launcher/run_words.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "launcher/unclear.h"
#include "launcher/words.h"

namespace gantry {
namespace {

/// Options of client/verbs/cli-run.ts whose whole meaning is in their words: no file is read for them, no variable of
/// the caller, no registry. A recipe may still not be kept for one (client/containers/recipe.ts).
constexpr auto kSwitches = std::to_array<std::string_view>({
    "-d",
    "--detach",
    "-di",
    "-id",
    "-i",
    "--interactive",
    "--init",
    "--no-healthcheck",
    "--read-only",
    "--rm",
});
constexpr auto kOptions = std::to_array<std::string_view>({
    "--add-host",
    "--annotation",
    "--cap-add",
    "--cap-drop",
    "--cgroupns",
    "--cgroup-parent",
    "--cpu-shares",
    "-c",
    "--dns",
    "--dns-option",
    "--dns-search",
    "--domainname",
    "--entrypoint",
    "--group-add",
    "--health-cmd",
    "--health-interval",
    "--health-retries",
    "--health-start-interval",
    "--health-start-period",
    "--health-timeout",
    "--hostname",
    "-h",
    "--ipc",
    "--label",
    "-l",
    "--log-driver",
    "--log-opt",
    "--memory",
    "-m",
    "--memory-reservation",
    "--memory-swap",
    "--net",
    "--network",
    "--oom-score-adj",
    "--pid",
    "--pids-limit",
    "--restart",
    "--shm-size",
    "--stop-signal",
    "--stop-timeout",
    "--sysctl",
    "--tmpfs",
    "--ulimit",
    "--user",
    "-u",
    "--uts",
    "--workdir",
    "-w",
});

/// -x value, --xyz value, --xyz=value.
bool TakeRunOption(std::string_view word, std::string_view name, Words& words, std::string& value) {
  return word.starts_with("--") ? TakeOption(word, name, words, value)
                                : word == name && TakeOption(word, name, words, value);
}

bool TakeVariable(std::string_view word, Words& words, RunWords& run) {
  std::string variable;
  if (!TakeRunOption(word, "-e", words, variable) && !TakeRunOption(word, "--env", words, variable)) return false;
  const std::size_t end = variable.find('=');
  if (end == variable.npos || end == 0) throw Unclear("a variable of the caller");
  run.values.push_back(variable.substr(end + 1));
  run.others.insert(run.others.end(), {"-e", variable.substr(0, end)});
  return true;
}

bool TakeFolder(std::string_view word, Words& words, RunWords& run) {
  std::string mount;
  if (!TakeRunOption(word, "-v", words, mount) && !TakeRunOption(word, "--volume", words, mount)) return false;
  if (!mount.starts_with('/') || mount.find(':') == mount.npos) throw Unclear("a volume, or where the caller is");
  run.others.insert(run.others.end(), {"-v", mount});
  return true;
}

bool TakeAny(std::string_view word, Words& words, RunWords& run) {
  if (std::ranges::find(kSwitches, word) != kSwitches.end()) {
    run.others.emplace_back(word);
    return true;
  }
  std::string value;
  if (TakeOption(word, "--pull", words, value)) {
    if (value != "missing" && value != "never") throw Unclear("a pull");
    return true;
  }
  for (const std::string_view name : kOptions) {
    if (!TakeRunOption(word, name, words, value)) continue;
    run.others.insert(run.others.end(), {std::string(name), value});
    return true;
  }
  return TakeVariable(word, words, run) || TakeFolder(word, words, run);
}

}  // namespace

std::optional<RunWords> ParseRunWords(std::span<char* const> all_words) {
  RunWords run;
  Words words(all_words);
  std::string_view word = words.Next();
  while (TakeOption(word, "--root", words, run.root)) word = words.Next();
  if (word != "run") return std::nullopt;
  for (word = words.Next(); word.starts_with('-'); word = words.Next()) {
    if (TakeOption(word, "--root", words, run.root)) continue;
    if (TakeOption(word, "--name", words, run.name)) continue;
    if (!TakeAny(word, words, run)) throw Unclear("an option");
  }
  run.image = word;
  for (const char* each : words.Rest()) run.command.emplace_back(each);
  return run;
}

}  // namespace gantry
