// The words of `gantry run` as far as they have to be understood to make the container of a recipe (recipe.h): where
// the image is, and what differs from one run to the next. What an option means is nobody's affair here: that is in the
// recipe.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace gantry {

struct RunWords {
  std::string root;                 // as --root has it; empty if it was not said
  std::string image;                // as it was typed
  std::string name;                 // empty if none was given
  std::vector<std::string> values;  // of the variables that are set, in their order
  std::vector<std::string> command;
  std::vector<std::string> others;  // what a recipe is for: the options without those
};

/// `words` without the program's name. Nothing if the verb is not `run`; throws Unclear if it is, and not all is known.
std::optional<RunWords> ParseRunWords(std::span<char* const> words);

}  // namespace gantry
