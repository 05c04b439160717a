#include "launcher/transfer/image_name.h"

#include <algorithm>
#include <cstddef>

#include "launcher/unclear.h"

namespace gantry {
namespace {

constexpr std::string_view kAlgorithm = "sha256:";
constexpr std::size_t kDigestDigits = 64;
constexpr std::size_t kLongestRepository = 255;
constexpr std::size_t kLongestTag = 128;
constexpr std::string_view kLowerAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789";

bool IsLowerOrDigit(char c) { return kLowerAndDigits.find(c) != std::string_view::npos; }
bool IsLetterOrDigit(char c) { return IsLowerOrDigit(c) || (c >= 'A' && c <= 'Z'); }

/// alphanumeric ( separator alphanumeric )*, separator ::= "." | "_" | "__" | "-"+ (storage/model/reference.ts)
bool IsComponent(std::string_view text) {
  if (text.empty() || !IsLowerOrDigit(text.front()) || !IsLowerOrDigit(text.back())) return false;
  while (true) {
    const std::size_t start = text.find_first_not_of(kLowerAndDigits);
    if (start == text.npos) return true;
    const std::size_t end = text.find_first_of(kLowerAndDigits, start);
    const std::string_view separator = text.substr(start, end - start);
    const bool dashes = separator.find_first_not_of('-') == separator.npos;
    if (!dashes && separator != "." && separator != "_" && separator != "__") return false;
    text.remove_prefix(end);
  }
}

bool IsRepository(std::string_view text) {
  if (text.size() > kLongestRepository) return false;
  while (true) {
    const std::size_t end = text.find('/');
    if (!IsComponent(text.substr(0, end))) return false;
    if (end == text.npos) return true;
    text.remove_prefix(end + 1);
  }
}

bool IsTag(std::string_view text) {
  return !text.empty() && text.size() <= kLongestTag && (IsLetterOrDigit(text[0]) || text[0] == '_') &&
         std::ranges::all_of(text, [](char c) { return IsLetterOrDigit(c) || c == '_' || c == '.' || c == '-'; });
}

}  // namespace

bool IsDigest(std::string_view text) {
  return text.size() == kAlgorithm.size() + kDigestDigits && text.starts_with(kAlgorithm) &&
         text.find_first_not_of("0123456789abcdef", kAlgorithm.size()) == text.npos;
}

std::string ImageName::Print() const {
  return registry + "/" + repository + (digest.empty() ? ":" + tag : "@" + digest);
}

ImageName ParseImageName(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == text.npos) throw Unclear("no registry");
  ImageName name;
  name.registry = text.substr(0, slash);
  std::string_view named = text.substr(slash + 1);
  if (const std::size_t at = named.find('@'); at != named.npos) {
    name.digest = named.substr(at + 1);
    if (!IsDigest(name.digest)) throw Unclear("a digest");
    named = named.substr(0, at);
  } else {
    name.tag = "latest";
  }
  if (const std::size_t colon = named.find(':'); colon != named.npos) {
    name.tag = named.substr(colon + 1);
    if (!IsTag(name.tag)) throw Unclear("a tag");
    named = named.substr(0, colon);
  }
  if (!IsRepository(named)) throw Unclear("a repository");
  name.repository = named;
  return name;
}

}  // namespace gantry
