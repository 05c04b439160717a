#include "launcher/asked.h"

#include <algorithm>
#include <string_view>

#include "launcher/unclear.h"
#include "launcher/words.h"

namespace gantry {
namespace {

constexpr std::size_t kTailDigits = 9;
constexpr std::size_t kSecondsDigits = 6;

std::size_t TailOf(std::string_view text) {
  const bool digits = std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  if (text.empty() || text.size() > kTailDigits || !digits) throw Unclear("a number of lines");
  std::size_t tail = 0;
  for (const char c : text) tail = 10 * tail + static_cast<std::size_t>(c - '0');
  return tail;
}

bool TakePsOption(std::string_view word, Asked& asked) {
  if (word == "--all") return asked.all = true;
  if (word == "--quiet") return asked.quiet = true;
  if (word == "--no-trunc") return asked.whole = true;
  if (!word.starts_with('-') || word.size() < 2 || word.find_first_not_of("aq", 1) != word.npos) return false;
  asked.all = asked.all || word.find('a') != word.npos;
  asked.quiet = asked.quiet || word.find('q') != word.npos;
  return true;
}

bool TakeLogsOption(std::string_view word, Words& words, Asked& asked) {
  std::string tail;
  if (word == "-t" || word == "--timestamps") return asked.timestamps = true;
  if (word == "-n") {
    tail = words.Next();
  } else if (!TakeOption(word, "--tail", words, tail)) {
    if (word.starts_with('-') || word.empty() || !asked.container.empty()) return false;
    asked.container = word;
    return true;
  }
  asked.tail = tail == "all" ? std::nullopt : std::optional(TailOf(tail));
  return true;
}

/// Letters of switches, the last of them perhaps of an option with a value: -i, -it, -e A=b, -ieA=b.
bool TakeExecLetters(std::string_view word, Words& words, Asked& asked) {
  for (std::size_t i = 1; i < word.size(); ++i) {
    const char letter = word[i];
    if (letter == 'i' || letter == 't' || letter == 'd') {
      (letter == 'i' ? asked.interactive : letter == 't' ? asked.terminal : asked.detached) = true;
      continue;
    }
    if (letter != 'e' && letter != 'w' && letter != 'u') return false;
    const std::string value(i + 1 < word.size() ? word.substr(i + 1) : words.Next());
    if (value.empty()) throw Unclear("an empty value");
    if (letter == 'e') {
      asked.environment.push_back(value);
    } else {
      (letter == 'w' ? asked.working_directory : asked.user) = value;
    }
    return true;
  }
  return true;
}

bool TakeExecOption(std::string_view word, Words& words, Asked& asked) {
  if (word == "--interactive") return asked.interactive = true;
  if (word == "--tty") return asked.terminal = true;
  if (word == "--detach") return asked.detached = true;
  if (TakeOption(word, "--workdir", words, asked.working_directory)) return true;
  if (TakeOption(word, "--user", words, asked.user)) return true;
  std::string variable;
  if (TakeOption(word, "--env", words, variable)) {
    asked.environment.push_back(variable);
    return true;
  }
  if (word.starts_with("--") || word == "-" || word.empty()) return false;
  if (word[0] == '-') return TakeExecLetters(word, words, asked);
  asked.container = word;
  const auto command = words.Rest();
  if (command.empty() || command[0][0] == '-' || command[0][0] == '\0') throw Unclear("a program");
  asked.command.assign(command.begin(), command.end());
  while (words.Any()) words.Next();
  return true;
}

bool TakeContainer(std::string_view word, Asked& asked) {
  if (word.empty() || word.starts_with('-')) return false;
  asked.containers.emplace_back(word);
  return true;
}

bool TakeStopOption(std::string_view word, Words& words, Asked& asked) {
  std::string& seconds = asked.seconds;
  if (word == "-t") {
    seconds = words.Next();
  } else if (!TakeOption(word, "--time", words, seconds)) {
    return TakeContainer(word, asked);
  }
  if (seconds.empty() || seconds.size() > kSecondsDigits ||
      seconds.find_first_not_of("0123456789") != std::string::npos) {
    throw Unclear("a number of seconds");
  }
  return true;
}

bool TakeRemoveOption(std::string_view word, Asked& asked) {
  if (word == "--force") return asked.force = true;
  if (word == "--volumes") return asked.volumes = true;
  if (word.size() < 2 || word[0] != '-' || word.find_first_not_of("fv", 1) != word.npos) {
    return TakeContainer(word, asked);
  }
  asked.force = asked.force || word.find('f') != word.npos;
  asked.volumes = asked.volumes || word.find('v') != word.npos;
  return true;
}

bool TakeVerbsOption(std::string_view word, Words& words, Asked& asked) {
  switch (asked.verb) {
    case Asked::Verb::kPs:
      return TakePsOption(word, asked);
    case Asked::Verb::kLogs:
      return TakeLogsOption(word, words, asked);
    case Asked::Verb::kExec:
      return TakeExecOption(word, words, asked);
    case Asked::Verb::kStop:
      return TakeStopOption(word, words, asked);
    case Asked::Verb::kRemove:
      return TakeRemoveOption(word, asked);
    case Asked::Verb::kVersion:
    case Asked::Verb::kCleanUp:
      break;
  }
  return false;
}

Asked::Verb VerbOf(std::string_view word, Words& words) {
  if (word == "ps") return Asked::Verb::kPs;
  if (word == "logs") return Asked::Verb::kLogs;
  if (word == "exec") return Asked::Verb::kExec;
  if (word == "stop") return Asked::Verb::kStop;
  if (word == "rm") return Asked::Verb::kRemove;
  if (word == "system" && words.Next() == "clean-up") return Asked::Verb::kCleanUp;
  throw Unclear("a verb");
}

}  // namespace

Asked ParseAsked(std::span<char* const> all_words) {
  Asked asked;
  Words words(all_words);
  std::string_view word = words.Next();
  if (all_words.size() == 1 && (word == "--version" || word == "-v")) return asked;
  while (TakeOption(word, "--root", words, asked.root)) word = words.Next();
  asked.verb = VerbOf(word, words);
  while (words.Any()) {
    word = words.Next();
    if (!TakeOption(word, "--root", words, asked.root) && !TakeVerbsOption(word, words, asked)) {
      throw Unclear("an option");
    }
  }
  const bool needs_one = asked.verb == Asked::Verb::kLogs || asked.verb == Asked::Verb::kExec;
  const bool needs_some = asked.verb == Asked::Verb::kStop || asked.verb == Asked::Verb::kRemove;
  if ((needs_one && asked.container.empty()) || (needs_some && asked.containers.empty())) throw Unclear("whose");
  return asked;
}

}  // namespace gantry
