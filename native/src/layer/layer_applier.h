// An archive's entries become what a layer says by them: whiteouts, opaque directories, files; within limits.
#pragma once

#include <cstdint>
#include <memory>

#include "layer/file_fillers.h"
#include "layer/layer_writer.h"
#include "layer/tar_entry.h"

namespace gantry {

struct LayerLimits {
  std::uint64_t tar_bytes = 0;
  std::uint64_t entries = 0;
  std::uint64_t devices = 0;
  /// Of one entry's extended attributes, names included.
  std::uint64_t xattr_bytes = 0;
  /// Of all paths that have to be remembered until the end: those of everything but files.
  std::uint64_t path_bytes = 0;
};

class LayerApplier : public TarSink {
 public:
  LayerApplier(LayerWriter& writer, FileFillers& fillers, const LayerLimits& limits)
      : writer_(writer), fillers_(fillers), limits_(limits) {}

  /// What is told from now on lies in it.
  void SetMemory(std::shared_ptr<const void> memory) { memory_ = std::move(memory); }

  void Begin(TarEntry entry) override;
  void Content(std::uint64_t offset, std::string_view bytes) override;
  void End() override;

 private:
  void CheckLimits(const TarEntry& entry);
  void Whiteout(const std::string& parent, const std::string& name);

  LayerWriter& writer_;
  FileFillers& fillers_;
  const LayerLimits limits_;
  std::shared_ptr<const void> memory_;
  std::shared_ptr<FileFillers::OpenFile> file_;  // none while a whiteout's content is passed over
  std::uint64_t entries_ = 0;
  std::uint64_t devices_ = 0;
  std::uint64_t path_bytes_ = 0;
};

}  // namespace gantry
