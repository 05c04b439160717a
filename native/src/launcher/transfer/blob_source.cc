#include "launcher/transfer/blob_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "core/hash.h"
#include "core/verified_mark.h"
#include "launcher/unclear.h"

namespace gantry {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// What stays in the processor's cache from one call to the next.
constexpr std::size_t kPieceBytes = 256 * 1024;
/// Of what the kernel sends by itself: for so long nobody looks whether it is to go on.
constexpr std::size_t kStretchBytes = 4 * 1024 * 1024;
// Within such a time so much has to come, or it is a slow drip (client/registry/bounded-body.ts).
constexpr auto kWindow = 60s;
constexpr std::uint64_t kWindowBytes = 16 * 1024;

std::string_view HexOf(std::string_view digest) { return digest.substr(digest.find(':') + 1); }

template <typename Receive>
void SendVerified(HttpConnection& to, const Named& blob, Receive receive, const std::function<void()>& moved) {
  Hash hash(HashAlgorithm::kSha256);
  std::vector<std::uint8_t> piece(
      static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, std::max<std::uint64_t>(blob.size_bytes, 1))));
  Clock::duration waited{};
  std::uint64_t in_window = 0;
  for (std::uint64_t left = blob.size_bytes; left > 0;) {
    const auto before = Clock::now();
    const std::size_t got =
        receive(std::span(piece).first(static_cast<std::size_t>(std::min<std::uint64_t>(left, piece.size()))));
    waited += Clock::now() - before;
    in_window += got;
    if (waited > kWindow) {
      if (in_window < kWindowBytes) throw Unclear("a slow drip");
      waited = {};
      in_window = 0;
    }
    const auto bytes = std::span<const std::uint8_t>(piece).first(got);
    hash.Update(bytes);
    left -= got;
    if (left == 0 && hash.DigestHex() != HexOf(blob.digest)) throw Unclear("other content");
    to.Send(bytes);
    moved();
  }
}

}  // namespace

void RegistrySource::Begin(const Named& blob) {
  blob_ = blob;
  from_.Ask({.method = "GET",
             .path = "/v2/" + repository_ + "/blobs/" + blob.digest,
             .headers = "Accept-Encoding: identity\r\n"});
}

void RegistrySource::SendTo(HttpConnection& to, const std::function<void()>& moved) {
  const Answer answer = from_.Await("GET");
  if (answer.status != 200 || answer.body_bytes != blob_.size_bytes) throw Unclear("no blob");
  SendVerified(to, blob_, [&](std::span<std::uint8_t> into) { return from_.Receive(into); }, moved);
}

void StoreSource::Begin(const Named& blob) {
  blob_ = blob;
  const std::string path = folder_ + "/" + std::string(HexOf(blob.digest));
  file_ = UniqueFd(checked("open a blob", [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  struct stat status{};
  checked("look at a blob", [&] { return ::fstat(file_.get(), &status); });
  if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != blob.size_bytes) {
    throw Unclear("a damaged blob");
  }
}

void StoreSource::SendTo(HttpConnection& to, const std::function<void()>& moved) {
  const auto read = [&](std::span<std::uint8_t> into) {
    const auto got = checked("read a blob", [&] { return ::read(file_.get(), into.data(), into.size()); });
    if (got == 0) throw Unclear("a blob that became shorter");
    return static_cast<std::size_t>(got);
  };
  if (!HasVerifiedMark(file_.get(), blob_.digest)) return SendVerified(to, blob_, read, moved);
  for (std::uint64_t at = 0; at < blob_.size_bytes;) {
    const std::size_t sent = to.SendFile(
        file_.get(), at, static_cast<std::size_t>(std::min<std::uint64_t>(kStretchBytes, blob_.size_bytes - at)));
    if (sent == 0) throw Unclear("a blob that became shorter");
    at += sent;
    moved();
  }
}

}  // namespace gantry
