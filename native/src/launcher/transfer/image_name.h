// An image in a registry on this machine, as a person names it: `HOST[:PORT]/NAME[:TAG][@DIGEST]`
// (client/model/image-name.ts).
#pragma once

#include <string>
#include <string_view>

namespace gantry {

struct ImageName {
  std::string registry;  // as it was typed
  std::string repository;
  std::string tag;     // empty if only the digest was said
  std::string digest;  // wins over the tag; empty if there is none

  const std::string& reference() const { return digest.empty() ? tag : digest; }
  /// The one spelling under which an image is kept.
  std::string Print() const;
};

/// Throws Unclear for what is no such name, or may be another kind of place.
ImageName ParseImageName(std::string_view text);

/// `sha256:` and 64 digits, the one kind that is taken here.
bool IsDigest(std::string_view text);

}  // namespace gantry
