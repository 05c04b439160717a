// The keys that take a person away from a terminal.
#pragma once

#include <string>
#include <string_view>

namespace gantry {

/// Finds a sequence in what is typed. The beginning of it is held back until it is clear that no more follows.
class KeyWatch {
 public:
  /// Empty: nothing is ever found.
  explicit KeyWatch(std::string keys) : keys_(std::move(keys)) {}

  /// Appends to `pass` what is for the program. True once the sequence is complete: what is typed behind it is for
  /// nobody.
  bool Take(std::string_view typed, std::string& pass) {
    if (keys_.empty()) {
      pass.append(typed);
      return false;
    }
    for (const char key : typed) {
      if (key != keys_[matched_]) {
        pass.append(keys_, 0, matched_);
        matched_ = 0;
      }
      if (key != keys_[matched_]) {
        pass += key;
      } else if (++matched_ == keys_.size()) {
        return true;
      }
    }
    return false;
  }

 private:
  std::string keys_;
  std::size_t matched_ = 0;
};

}  // namespace gantry
