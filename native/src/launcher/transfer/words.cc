#include "launcher/transfer/words.h"

#include <string_view>
#include <vector>

#include "launcher/unclear.h"
#include "launcher/words.h"

namespace gantry {

std::optional<TransferWords> ParseTransferWords(std::span<char* const> all_words) {
  TransferWords transfer;
  Words words(all_words);
  if (!words.Any()) return std::nullopt;
  std::string_view word = words.Next();
  while (TakeOption(word, "--root", words, transfer.root)) word = words.Next();
  if (word != "copy" && word != "push") return std::nullopt;
  transfer.is_push = word == "push";
  std::vector<std::string_view> places;
  while (words.Any()) {
    word = words.Next();
    if (word == "-q" || word == "--quiet") {
      transfer.quiet = true;
    } else if (!TakeOption(word, "--root", words, transfer.root)) {
      if (word.starts_with('-')) throw Unclear("an option");
      places.push_back(word);
    }
  }
  if (places.size() > 2 || places.size() < (transfer.is_push ? 1 : 2)) throw Unclear("places");
  transfer.from = ParseImageName(places.front());
  transfer.to = ParseImageName(places.back());
  transfer.called = transfer.is_push ? transfer.to.Print() : std::string(places.back());
  return transfer;
}

}  // namespace gantry
