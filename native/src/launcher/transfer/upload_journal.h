// Uploads that are under way, in the user's own folder of state (client/registry/upload-journal.ts): Node goes on with
// what was broken off.
#pragma once

#include <string>

namespace gantry {

class UploadJournal {
 public:
  /// Throws Unclear if nobody has said where the user's own things are.
  UploadJournal();

  /// `key`: what is uploaded, and where to.
  bool Has(const std::string& key) const;
  /// Never fails: a journal that cannot be written only costs what it would have saved.
  void Remember(const std::string& key, const std::string& location) const noexcept;
  void Forget(const std::string& key) const noexcept;

 private:
  std::string PathOf(const std::string& key) const;

  std::string folder_;
};

}  // namespace gantry
