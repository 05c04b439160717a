#include "runtime/systemd_property.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "runtime/config_error.h"
#include "runtime/json.h"
#include "runtime/lookup.h"

namespace gantry {
namespace {

constexpr std::string_view kPrefix = "org.systemd.property.";
constexpr std::size_t kLeastNameLetters = 3;
/// These are what makes the unit the container's.
constexpr std::array<std::string_view, 3> kOurs = {"Slice", "PIDs", "Delegate"};

enum class NumberType { kInt32, kUint32, kInt64, kUint64, kDouble };
constexpr std::array<Named<NumberType>, 5> kNumberTypes = {{
    {"int32", NumberType::kInt32},
    {"uint32", NumberType::kUint32},
    {"int64", NumberType::kInt64},
    {"uint64", NumberType::kUint64},
    {"double", NumberType::kDouble},
}};

/// The part of GVariant's text format that properties of units need. What it does not understand is nothing.
class GvariantText {
 public:
  explicit GvariantText(std::string_view text) : rest_(text) {}

  std::optional<DbusValue> Whole() {
    auto value = Value();
    SkipSpace();
    return rest_.empty() ? value : std::nullopt;
  }

 private:
  void SkipSpace() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n"), rest_.size())); }

  bool Next(char wanted) {
    SkipSpace();
    if (!rest_.starts_with(wanted)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::string_view Word() {
    SkipSpace();
    const auto end = rest_.find_first_of(" \t\n,]'\"[");
    const std::string_view word = rest_.substr(0, end);
    rest_.remove_prefix(word.size());
    return word;
  }

  std::optional<DbusValue> Value() {
    if (Next('[')) return Texts();
    if (rest_.starts_with('\'') || rest_.starts_with('"')) {
      auto text = Text();
      return text ? std::optional<DbusValue>(std::move(*text)) : std::nullopt;
    }
    const std::string_view word = Word();
    if (word == "true" || word == "false") return DbusValue(word == "true");
    if (const auto type = Lookup(kNumberTypes, word)) return Number(Word(), *type);
    const bool fraction = word.find_first_of(".eE") != std::string_view::npos;
    return Number(word, fraction ? NumberType::kDouble : NumberType::kInt32);
  }

  std::optional<std::string> Text() {
    SkipSpace();
    if (rest_.empty()) return std::nullopt;
    const char quote = rest_[0];
    if (quote != '\'' && quote != '"') return std::nullopt;
    std::string text;
    for (std::size_t at = 1; at < rest_.size(); ++at) {
      if (rest_[at] == quote) {
        rest_.remove_prefix(at + 1);
        return text;
      }
      if (rest_[at] == '\\' && ++at == rest_.size()) break;
      if (rest_[at] == '\0') break;
      text.push_back(rest_[at]);
    }
    return std::nullopt;
  }

  std::optional<DbusValue> Texts() {
    std::vector<std::string> texts;
    if (Next(']')) return DbusValue(std::move(texts));
    do {
      auto text = Text();
      if (!text) return std::nullopt;
      texts.push_back(std::move(*text));
    } while (Next(','));
    return Next(']') ? std::optional<DbusValue>(std::move(texts)) : std::nullopt;
  }

  template <typename As>
  static std::optional<DbusValue> Parse(std::string_view word) {
    As number{};
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
    return DbusValue(number);
  }

  static std::optional<DbusValue> Number(std::string_view word, NumberType type) {
    switch (type) {
      case NumberType::kInt32:
        return Parse<std::int32_t>(word);
      case NumberType::kUint32:
        return Parse<std::uint32_t>(word);
      case NumberType::kInt64:
        return Parse<std::int64_t>(word);
      case NumberType::kUint64:
        return Parse<std::uint64_t>(word);
      case NumberType::kDouble:
        return Parse<double>(word);
    }
    return std::nullopt;
  }

  std::string_view rest_;
};

/// Seconds, whatever kind of number they are, in microseconds; nothing if they are none.
std::optional<std::uint64_t> Microseconds(const DbusValue& value) {
  constexpr double kMicroseconds = 1e6;
  constexpr double kMost = 1e18;
  const double seconds = std::visit(
      [](const auto& number) {
        using Type = std::decay_t<decltype(number)>;
        if constexpr (std::is_arithmetic_v<Type> && !std::is_same_v<Type, bool>) return static_cast<double>(number);
        return -1.0;
      },
      value);
  const double result = seconds * kMicroseconds;
  if (!(result >= 0 && result < kMost)) return std::nullopt;
  return static_cast<std::uint64_t>(result);
}

}  // namespace

std::vector<UnitProperty> AnnotatedProperties(const std::vector<std::pair<std::string, std::string>>& annotations) {
  std::vector<UnitProperty> properties;
  for (const auto& [key, text] : annotations) {
    if (!key.starts_with(kPrefix)) continue;
    std::string name = key.substr(kPrefix.size());
    const auto refuse = [&](const std::string& why) { throw ConfigError("annotations." + key + ": " + why); };
    const bool letters = std::ranges::all_of(name, [](char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; });
    if (!letters || name.size() < kLeastNameLetters) refuse(QuoteJson(name) + " is no name of a property of systemd's");
    if (std::ranges::find(kOurs, name) != kOurs.end()) refuse("is set by the runtime");
    auto value = GvariantText(text).Whole();
    if (!value) {
      refuse("must be a value in GVariant's text format, such as true, 'text', ['a', 'b'] or uint64 5, not " +
             QuoteJson(text));
    }
    if (name.ends_with("Sec") && !name.ends_with("USec")) {
      const auto microseconds = Microseconds(*value);
      if (!microseconds) refuse("must be a number of seconds, not " + QuoteJson(text));
      name.replace(name.size() - 3, 3, "USec");
      value = *microseconds;
    }
    properties.push_back({std::move(name), std::move(*value)});
  }
  return properties;
}

}  // namespace gantry
