// The list of images in the local store (client/store/content.ts), for who pushes one of them.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "launcher/transfer/image_name.h"
#include "launcher/transfer/manifest.h"

namespace gantry {

class StoredImages {
 public:
  /// `root`: the store's. Throws an exception if the list is not as we write it.
  explicit StoredImages(const std::string& root);

  /// Folder of the blobs of sha256.
  const std::string& folder() const { return folder_; }
  /// The manifest of that name, or of the image that has it. Throws an exception if there is none.
  Manifest Find(const std::string& name) const;
  /// Other repositories of the registry where `to` is whose images here have a layer: by its digest, the first by name.
  std::map<std::string, std::string> Neighbours(const ImageName& to) const;

 private:
  struct Entry {
    std::string digest;
    std::string media_type;
  };
  Manifest Read(const Entry& entry) const;

  std::string folder_;
  std::map<std::string, Entry> entries_;  // by name
};

}  // namespace gantry
