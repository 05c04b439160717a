// What a tar archive says of one file, checked and decoded; names and values are bytes.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "layer/layer_files.h"

namespace gantry {

/// What is wrong with an archive or with what it asks for, in words; the entry's name is in them where it is known.
struct LayerError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class TarType : std::uint8_t { kFile, kHardlink, kSymlink, kCharacterDevice, kBlockDevice, kDirectory, kFifo };

struct TarEntry {
  TarType type = TarType::kFile;
  std::string path;
  std::string link;  // of links
  Attributes attributes;
  std::uint64_t size = 0;  // of a file, holes included
  bool sparse = false;
  unsigned major = 0;  // of devices
  unsigned minor = 0;
};

/// Told of an archive's entries in their order. What it throws ends the reading.
class TarSink {
 public:
  virtual ~TarSink() = default;
  virtual void Begin(TarEntry entry) = 0;
  /// Of the file that was begun; in order, and what is left out is a hole.
  virtual void Content(std::uint64_t offset, std::string_view bytes) = 0;
  /// Of the file that was begun: all of its content was told.
  virtual void End() = 0;
};

}  // namespace gantry
