#include "launcher/transfer/manifest.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "core/hash.h"
#include "launcher/store.h"
#include "launcher/transfer/image_name.h"
#include "launcher/unclear.h"
#include "runtime/json.h"

namespace gantry {
namespace {

constexpr std::array<std::string_view, 2> kImages = {"application/vnd.oci.image.manifest.v1+json",
                                                     "application/vnd.docker.distribution.manifest.v2+json"};
constexpr std::array<std::string_view, 2> kIndexes = {"application/vnd.oci.image.index.v1+json",
                                                      "application/vnd.docker.distribution.manifest.list.v2+json"};
constexpr std::size_t kMostDescriptors = 1000;
constexpr std::size_t kMostSizeDigits = 15;
#if defined(__x86_64__)
constexpr std::string_view kArchitecture = "amd64";
#elif defined(__aarch64__)
constexpr std::string_view kArchitecture = "arm64";
#else
constexpr std::string_view kArchitecture = "";
#endif
/// Of which no machine that we know runs another's.
constexpr std::array<std::string_view, 8> kArchitectures = {"amd64", "arm64",   "386",      "ppc64le",
                                                            "s390x", "riscv64", "mips64le", "unknown"};

void Expect(bool holds) {
  if (!holds) throw Unclear("an odd manifest");
}

const Json* FindOf(const Json& object, std::string_view name, Json::Type type) {
  const Json* found = FindSome(object, name);
  Expect(found == nullptr || found->type == type);
  return found;
}

void ExpectTexts(const Json& object, std::string_view name) {
  const Json* texts = FindOf(object, name, Json::Type::kObject);
  Expect(texts == nullptr || std::ranges::all_of(texts->members, [](const JsonMember& each) {
           return each.value.type == Json::Type::kString;
         }));
}

Named NamedIn(const Json& descriptor) {
  Expect(descriptor.type == Json::Type::kObject);
  Named named{.digest = TextOf(descriptor, "digest"), .media_type = TextOf(descriptor, "mediaType")};
  const Json* size = descriptor.Find("size");
  Expect(size != nullptr && size->type == Json::Type::kNumber && size->text.size() <= kMostSizeDigits);
  const char* end = size->text.data() + size->text.size();
  const auto parsed = std::from_chars(size->text.data(), end, named.size_bytes);
  Expect(parsed.ec == std::errc() && parsed.ptr == end);
  Expect(IsDigest(named.digest) && !named.media_type.empty());
  // Content that lives elsewhere, or in the descriptor itself.
  Expect(FindSome(descriptor, "urls") == nullptr && FindSome(descriptor, "data") == nullptr);
  Expect(named.media_type.find(".nondistributable.") == std::string::npos &&
         named.media_type.find(".foreign.") == std::string::npos);
  FindOf(descriptor, "artifactType", Json::Type::kString);
  ExpectTexts(descriptor, "annotations");
  return named;
}

/// Of this kind, and without a subject, in whose list it would have to be put.
Json DocumentOf(const Manifest& manifest, std::span<const std::string_view> kinds, std::string_view forbidden) {
  Expect(std::ranges::find(kinds, manifest.media_type) != kinds.end());
  Json document = ParseJson(manifest.bytes);
  Expect(document.type == Json::Type::kObject);
  const Json* version = document.Find("schemaVersion");
  Expect(version != nullptr && version->type == Json::Type::kNumber && version->text == "2");
  const Json* own = FindOf(document, "mediaType", Json::Type::kString);
  Expect(own == nullptr || own->text == manifest.media_type);
  Expect(FindSome(document, forbidden) == nullptr && FindSome(document, "subject") == nullptr);
  FindOf(document, "artifactType", Json::Type::kString);
  ExpectTexts(document, "annotations");
  return document;
}

const Json& ListOf(const Json& document, std::string_view name) {
  const Json* list = document.Find(name);
  Expect(list != nullptr && list->type == Json::Type::kArray && list->items.size() <= kMostDescriptors);
  return *list;
}

/// Throws an exception where it takes more to tell.
bool IsForThisMachine(const Json& entry) {
  const Json* platform = FindOf(entry, "platform", Json::Type::kObject);
  Expect(platform != nullptr);
  const std::string& os = TextOf(*platform, "os");
  const std::string& architecture = TextOf(*platform, "architecture");
  Expect(std::ranges::find(kArchitectures, architecture) != kArchitectures.end() || architecture == "arm");
  Expect(architecture != "arm" || kArchitecture != "arm64");
  if (os != "linux" || architecture != kArchitecture) {
    Expect(os == "linux" || os == "windows" || os == "unknown");
    return false;
  }
  const Json* variant = FindOf(*platform, "variant", Json::Type::kString);
  Expect(variant == nullptr || (kArchitecture == "arm64" && variant->text == "v8"));
  return true;
}

}  // namespace

std::string DigestOf(std::string_view bytes) {
  Hash hash(HashAlgorithm::kSha256);
  hash.Update({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  return "sha256:" + hash.DigestHex();
}

bool IsIndex(std::string_view media_type) { return std::ranges::find(kIndexes, media_type) != kIndexes.end(); }

std::vector<Named> BlobsOf(const Manifest& image) {
  const Json document = DocumentOf(image, kImages, "manifests");
  const Json* config = document.Find("config");
  Expect(config != nullptr);
  std::vector<Named> blobs{NamedIn(*config)};
  for (const Json& layer : ListOf(document, "layers").items) {
    Named named = NamedIn(layer);
    const auto same = std::ranges::find(blobs, named.digest, &Named::digest);
    Expect(same == blobs.end() || same->size_bytes == named.size_bytes);
    if (same == blobs.end()) blobs.push_back(std::move(named));
  }
  return blobs;
}

Named ChildForThisMachine(const Manifest& index) {
  const Json document = DocumentOf(index, kIndexes, "layers");
  Expect(FindSome(document, "config") == nullptr);
  std::vector<Named> entries;
  std::size_t chosen = kMostDescriptors;
  for (const Json& entry : ListOf(document, "manifests").items) {
    Named named = NamedIn(entry);
    Expect(std::ranges::find(entries, named.digest, &Named::digest) == entries.end());
    if (IsForThisMachine(entry)) chosen = std::min(chosen, entries.size());
    entries.push_back(std::move(named));
  }
  Expect(chosen < entries.size());
  return entries[chosen];
}

}  // namespace gantry
