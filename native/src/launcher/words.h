// What was typed, word by word.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "launcher/unclear.h"

namespace gantry {

class Words {
 public:
  explicit Words(std::span<char* const> words) : words_(words) {}

  bool Any() const { return at_ < words_.size(); }
  std::string_view Next() {
    if (!Any()) throw Unclear("a value is missing");
    return words_[at_++];
  }

  /// Those that are left.
  std::span<char* const> Rest() const { return words_.subspan(at_); }

 private:
  std::span<char* const> words_;
  std::size_t at_ = 0;
};

/// Whether `word` is this option, with its value in it or behind it.
inline bool TakeOption(std::string_view word, std::string_view name, Words& words, std::string& value) {
  if (word == name) {
    value = words.Next();
  } else if (word.starts_with(name) && word[name.size()] == '=') {
    value = word.substr(name.size() + 1);
  } else {
    return false;
  }
  if (value.empty()) throw Unclear("an empty value");
  return true;
}

}  // namespace gantry
