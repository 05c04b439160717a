// An overlay's upper directory becomes a layer (image-spec, layer.md): what is new or changed as it is, what is hidden
// as whiteouts. Every step is one name, through a descriptor, and follows no link.
#pragma once

#include <sys/stat.h>

#include <map>
#include <set>
#include <string>
#include <utility>

#include "layer/tar_writer.h"

namespace gantry {

class LayerPacker {
 public:
  /// `left_out`: paths of files that are no part of the layer as long as they are empty.
  LayerPacker(TarWriter& to, std::set<std::string> left_out) : to_(to), left_out_(std::move(left_out)) {}

  /// In the order of the names. Throws LayerError for what no layer can hold, SysError for what cannot be read.
  void Pack(const std::string& folder);

 private:
  void Children(int folder, const std::string& path, int depth);
  void Child(int parent, const std::string& name, const std::string& path, int depth);
  void File(int parent, const std::string& name, TarEntry entry);
  void Folder(int parent, const std::string& name, TarEntry entry, bool is_opaque, int depth);
  void Marker(const std::string& path);

  TarWriter& to_;
  const std::set<std::string> left_out_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;
};

}  // namespace gantry
