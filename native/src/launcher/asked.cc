#include "launcher/asked.h"

#include <algorithm>
#include <string_view>

#include "launcher/unclear.h"
#include "launcher/words.h"

namespace gantry {
namespace {

constexpr std::size_t kTailDigits = 9;

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

}  // namespace

Asked ParseAsked(std::span<char* const> all_words) {
  Asked asked;
  Words words(all_words);
  std::string_view word = words.Next();
  if (all_words.size() == 1 && (word == "--version" || word == "-v")) return asked;
  while (TakeOption(word, "--root", words, asked.root)) word = words.Next();
  if (word != "ps" && word != "logs") throw Unclear("a verb");
  asked.verb = word == "ps" ? Asked::Verb::kPs : Asked::Verb::kLogs;
  while (words.Any()) {
    word = words.Next();
    const bool known =
        TakeOption(word, "--root", words, asked.root) ||
        (asked.verb == Asked::Verb::kPs ? TakePsOption(word, asked) : TakeLogsOption(word, words, asked));
    if (!known) throw Unclear("an option");
  }
  if (asked.verb == Asked::Verb::kLogs && asked.container.empty()) throw Unclear("whose log");
  return asked;
}

}  // namespace gantry
