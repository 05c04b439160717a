// A recipe: what Node has made of a `gantry run`, with blanks for what differs from one container to the next.
// client/containers/recipe.ts writes it, and decides all that a container is like.
#pragma once

#include <sys/types.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/run_words.h"
#include "launcher/store.h"
#include "runtime/json.h"

namespace gantry {

struct RecipeFile {
  std::string name;
  std::string text;
  mode_t mode;
};

/// What is filled in.
struct Filling {
  std::string id;
  std::string name;
  std::string created;
  std::vector<std::string> command;
  std::vector<std::string> values;
};

class Recipe {
 public:
  /// The name of the one for these words. `stamp` is the package's: another one may make other containers.
  static std::string KeyOf(const Store& store, const RunWords& run, std::string_view stamp);
  /// Throws an exception if there is none that can be used.
  static Recipe Read(const Store& store, const std::string& key);

  /// Whether all that it was made from is as it was, but for the image.
  bool Holds() const;
  /// Whether its image is here under its name. For who holds the store's lock.
  bool HasImage(const Store& store) const;

  /// Of the container's record.
  std::string RecordFor(const Filling& filling) const { return Fill(record_, filling); }
  /// The others.
  std::vector<RecipeFile> FilesFor(const Filling& filling) const;
  /// One of our own.
  std::string SomeName() const;

  std::vector<std::string> lower;  // folders of the root filesystem, the uppermost first
  bool removed;                    // when it ends
  bool detached;
  bool interactive;
  std::string runtime;
  std::string state_root;

 private:
  std::string Fill(std::string_view text, const Filling& filling) const;

  std::string image_;
  std::string manifest_;
  std::string host_name_;
  std::vector<std::pair<std::string, std::string>> host_files_;
  std::vector<std::string> sources_;
  std::array<std::vector<std::string>, 2> names_;
  Filling blanks_;
  std::string record_;
  std::vector<RecipeFile> files_;
};

}  // namespace gantry
