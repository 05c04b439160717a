#include "launcher/transfer/blob_upload.h"

#include <algorithm>
#include <chrono>
#include <string_view>

#include "launcher/unclear.h"

namespace gantry {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// client/registry/upload.ts
constexpr std::uint64_t kOneRequestBytes = 4 * 1024 * 1024;
constexpr auto kRememberAfter = 1s;

/// What a URL keeps as it is (encodeURIComponent). Of names and digests nothing else has to be written otherwise.
std::string Encoded(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    if (c == '/') {
      encoded += "%2F";
    } else if (c == ':') {
      encoded += "%3A";
    } else {
      encoded += c;
    }
  }
  return encoded;
}

/// The path and the query of an address that the registry gave. Throws Unclear for another's, and for one that a
/// browser would read as another.
std::string PathIn(std::string_view location, const PlainHost& host) {
  const std::string origin = "http://" + host.name;
  if (location.starts_with(origin) && location.substr(origin.size()).starts_with('/')) {
    location.remove_prefix(origin.size());
  }
  const auto is_plain = [](char c) {
    return c > ' ' && c <= '~' && std::string_view("\"#'<>\\^`{|}").find(c) == std::string_view::npos;
  };
  const std::string_view path = location.substr(0, location.find('?'));
  const bool climbs = path.find("/.") != path.npos || path.find("/%2e") != path.npos || path.find("/%2E") != path.npos;
  if (!location.starts_with('/') || location.starts_with("//") || !std::ranges::all_of(location, is_plain) || climbs ||
      location.ends_with('?')) {
    throw Unclear("an address");
  }
  return std::string(location);
}

}  // namespace

std::string BlobUpload::KeyOf(const Named& blob) const {
  return to_.host().registry + "/" + repository_ + "@" + blob.digest;
}

Arrival BlobUpload::Run(const Named& blob, const std::string& mount_from, const std::function<void()>& begins) {
  to_.Ask({.method = "HEAD", .path = "/v2/" + repository_ + "/blobs/" + blob.digest});
  const int status = to_.Await("HEAD").status;
  if (status == 200) return Arrival::kPresent;
  if (status != 404) throw Unclear("a status");
  if (journal_.Has(KeyOf(blob))) throw Unclear("an upload to go on with");
  const std::string path = Open(blob, mount_from);
  if (path.empty()) return Arrival::kMounted;
  Send(blob, path, begins);
  return Arrival::kSent;
}

std::string BlobUpload::Open(const Named& blob, const std::string& mount_from) {
  const std::string query = mount_from.empty() ? "" : "?mount=" + blob.digest + "&from=" + Encoded(mount_from);
  to_.Ask({.method = "POST", .path = "/v2/" + repository_ + "/blobs/uploads/" + query, .body_bytes = 0});
  if (mount_from.empty()) source_.Begin(blob);
  const Answer answer = to_.AwaitWithoutBody("POST");
  if (answer.status == 201 && !mount_from.empty()) return "";
  if (answer.status != 202) throw Unclear("a status");
  if (!mount_from.empty()) source_.Begin(blob);
  return PathIn(answer.Header("location"), to_.host());
}

void BlobUpload::Send(const Named& blob, const std::string& path, const std::function<void()>& begins) {
  const std::string key = KeyOf(blob);
  const std::string location = "http://" + to_.host().name + path;
  const auto begun = Clock::now();
  bool is_remembered = false;
  const auto remember = [&] {
    if (is_remembered || blob.size_bytes <= kOneRequestBytes) return;
    journal_.Remember(key, location);
    is_remembered = true;
  };
  try {
    to_.Ask({.method = "PUT",
             .path = path + (path.find('?') == path.npos ? "?" : "&") + "digest=" + Encoded(blob.digest),
             .headers = "Content-Type: application/octet-stream\r\n",
             .body_bytes = blob.size_bytes});
    if (blob.size_bytes > 0) begins();
    source_.SendTo(to_, [&] {
      if (Clock::now() - begun > kRememberAfter) remember();
    });
    if (to_.AwaitWithoutBody("PUT").status != 201) throw Unclear("a status");
  } catch (const std::exception&) {
    remember();
    throw;
  }
  if (is_remembered) journal_.Forget(key);
}

}  // namespace gantry
