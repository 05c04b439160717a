// What a manifest names, of the kinds that are all there is to most images. Whatever is odd in one is Unclear
// (storage/model/manifest.ts judges it).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gantry {

struct Manifest {
  std::string bytes;
  std::string media_type;
  std::string digest;
};

/// By digest; of a blob or a manifest.
struct Named {
  std::string digest;
  std::string media_type;
  std::uint64_t size_bytes = 0;
};

std::string DigestOf(std::string_view bytes);

bool IsIndex(std::string_view media_type);
/// Of an image: its configuration and its layers, each once. Throws an exception for what is more than an image, or
/// none.
std::vector<Named> BlobsOf(const Manifest& image);
/// Of an index: the image for this machine (client/model/platform.ts).
Named ChildForThisMachine(const Manifest& index);

}  // namespace gantry
