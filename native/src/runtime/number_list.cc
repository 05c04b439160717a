#include "runtime/number_list.h"

#include <charconv>
#include <climits>

namespace gantry {
namespace {

constexpr unsigned kBitsPerWord = sizeof(unsigned long) * CHAR_BIT;

/// A number from the beginning of `text`, which it then no longer has.
unsigned TakeNumber(std::string_view& text, const std::string& property) {
  unsigned number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number >= kMostNumbers) {
    throw ConfigError(property + ": must be numbers below " + std::to_string(kMostNumbers) +
                      " and ranges of them, as in 0-3,7");
  }
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  return number;
}

}  // namespace

NumberSet ParseNumberList(const Field& field) { return ParseNumberList(field.StringOr(""), field.path()); }

NumberSet ParseNumberList(std::string_view text, const std::string& property) {
  if (text.empty()) return {};
  NumberSet set(kMostNumbers / kBitsPerWord);
  while (true) {
    const unsigned first = TakeNumber(text, property);
    unsigned last = first;
    if (text.starts_with('-')) {
      text.remove_prefix(1);
      last = TakeNumber(text, property);
    }
    if (last < first) throw ConfigError(property + ": has a range that ends before it begins");
    for (unsigned number = first; number <= last; ++number) {
      set[number / kBitsPerWord] |= 1UL << (number % kBitsPerWord);
    }
    if (text.empty()) return set;
    if (!text.starts_with(',')) throw ConfigError(property + ": must be numbers and ranges of them, as in 0-3,7");
    text.remove_prefix(1);
  }
}

}  // namespace gantry
