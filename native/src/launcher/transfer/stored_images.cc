#include "launcher/transfer/stored_images.h"

#include "launcher/store.h"
#include "launcher/unclear.h"
#include "runtime/files.h"
#include "runtime/json.h"

namespace gantry {
namespace {

constexpr std::string_view kReferenceName = "org.opencontainers.image.ref.name";

}  // namespace

StoredImages::StoredImages(const std::string& root) : folder_(root + "/content/blobs/sha256") {
  const Json index = ParseJson(ReadFile(root + "/content/index.json", kMaxJsonBytes));
  const Json* list = index.Find("manifests");
  if (list == nullptr || list->type != Json::Type::kArray) throw Unclear("a list of images");
  for (const Json& entry : list->items) {
    const Json* annotations = FindSome(entry, "annotations");
    if (annotations == nullptr || annotations->Find(kReferenceName) == nullptr) continue;
    const Entry known{TextOf(entry, "digest"), TextOf(entry, "mediaType")};
    if (!IsDigest(known.digest)) throw Unclear("a digest");
    if (!entries_.emplace(TextOf(*annotations, kReferenceName), known).second) throw Unclear("a name twice");
  }
}

Manifest StoredImages::Read(const Entry& entry) const {
  const std::string path = folder_ + entry.digest.substr(entry.digest.find(':')).replace(0, 1, "/");
  Manifest manifest{.bytes = ReadFile(path, kMaxJsonBytes), .media_type = entry.media_type, .digest = entry.digest};
  if (DigestOf(manifest.bytes) != manifest.digest) throw Unclear("a damaged manifest");
  return manifest;
}

Manifest StoredImages::Find(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) throw Unclear("no such image");
  return Read(found->second);
}

std::map<std::string, std::string> StoredImages::Neighbours(const ImageName& to) const {
  std::map<std::string, std::string> neighbours;
  for (const auto& [name, entry] : entries_) {
    if (!name.starts_with(to.registry + "/")) continue;
    const ImageName image = ParseImageName(name);
    if (image.repository == to.repository) continue;
    const std::vector<Named> blobs = BlobsOf(Read(entry));
    for (std::size_t layer = 1; layer < blobs.size(); ++layer)
      neighbours.emplace(blobs[layer].digest, image.repository);
  }
  return neighbours;
}

}  // namespace gantry
