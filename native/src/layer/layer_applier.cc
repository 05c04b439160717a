#include "layer/layer_applier.h"

#include <sys/stat.h>

#include "core/defence.h"

namespace gantry {
namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr std::string_view kAufs = ".wh..wh.";

}  // namespace

void LayerApplier::Begin(TarEntry entry) {
  file_.reset();
  CheckLimits(entry);
  std::string_view path = entry.path;
  while (path.ends_with('/')) path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  const std::string name(path.substr(slash + 1));
  if (name.starts_with(kWhiteout)) {
    return Whiteout(slash == std::string_view::npos ? "" : std::string(path.substr(0, slash)), name);
  }
  switch (entry.type) {
    case TarType::kFile: {
      UniqueFd file = writer_.File(entry.path, entry.attributes.mode);
      file_ = fillers_.Begin(std::move(file), entry.size, std::move(entry.attributes),
                             "write the file " + Quoted(entry.path));
      return;
    }
    case TarType::kHardlink:
      return writer_.Hardlink(entry.path, entry.link);
    case TarType::kSymlink:
      return writer_.Symlink(entry.path, entry.link, entry.attributes);
    case TarType::kDirectory:
      return writer_.Directory(entry.path, std::move(entry.attributes));
    case TarType::kCharacterDevice:
      return writer_.Node(entry.path, S_IFCHR, entry.major, entry.minor, entry.attributes);
    case TarType::kBlockDevice:
      return writer_.Node(entry.path, S_IFBLK, entry.major, entry.minor, entry.attributes);
    case TarType::kFifo:
      return writer_.Node(entry.path, S_IFIFO, 0, 0, entry.attributes);
  }
}

void LayerApplier::Content(std::uint64_t offset, std::string_view bytes) {
  if (file_) fillers_.Write(file_, offset, bytes, memory_);
}

void LayerApplier::End() {
  if (file_) fillers_.End(file_);
  file_.reset();
}

void LayerApplier::CheckLimits(const TarEntry& entry) {
  const auto exceeds = [](std::uint64_t limit, const char* what) {
    return LayerError("more than " + std::to_string(limit) + " " + what);
  };
  if (!Has(Defence::kFewEntries)) return;
  if (++entries_ > limits_.entries) throw exceeds(limits_.entries, "entries");
  const bool is_device = entry.type == TarType::kCharacterDevice || entry.type == TarType::kBlockDevice;
  if (is_device && ++devices_ > limits_.devices) throw exceeds(limits_.devices, "device nodes");
  std::uint64_t xattr_bytes = 0;
  for (const auto& [name, value] : entry.attributes.xattrs) xattr_bytes += name.size() + value.size();
  if (xattr_bytes > limits_.xattr_bytes) throw exceeds(limits_.xattr_bytes, "bytes of extended attributes");
  if (entry.type != TarType::kFile) path_bytes_ += entry.path.size() + entry.link.size() + xattr_bytes;
  if (path_bytes_ > limits_.path_bytes) throw exceeds(limits_.path_bytes, "bytes of names");
}

/// Whiteouts hide what lower layers have, never what this layer brings, whatever the order (image-spec, layer.md).
void LayerApplier::Whiteout(const std::string& parent, const std::string& name) {
  if (name == kOpaque) return writer_.Opaque(parent);
  if (name.starts_with(kAufs)) return;  // what aufs keeps for itself
  const std::string hidden = name.substr(kWhiteout.size());
  if (Has(Defence::kNamedWhiteouts) && (hidden.empty() || hidden == "." || hidden == "..")) {
    throw LayerError("a whiteout that hides nothing which could be there");
  }
  path_bytes_ += parent.size() + hidden.size();
  writer_.Whiteout(parent.empty() ? hidden : parent + "/" + hidden);
}

}  // namespace gantry
