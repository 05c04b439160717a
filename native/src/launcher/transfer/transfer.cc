// `gantry copy` and `gantry push`: client/images/copy.ts while all goes well. Whatever else happens, Node does it
// again: what has arrived by then is there, so that nothing is lost but time.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/own_ids.h"
#include "launcher/like_node.h"
#include "launcher/lock.h"
#include "launcher/store.h"
#include "launcher/transfer/blob_source.h"
#include "launcher/transfer/blob_upload.h"
#include "launcher/transfer/http_connection.h"
#include "launcher/transfer/manifest.h"
#include "launcher/transfer/plain_host.h"
#include "launcher/transfer/progress.h"
#include "launcher/transfer/stop.h"
#include "launcher/transfer/stored_images.h"
#include "launcher/transfer/upload_journal.h"
#include "launcher/transfer/words.h"
#include "launcher/unclear.h"
#include "launcher/verbs.h"
#include "runtime/json.h"
#include "runtime/print.h"

namespace gantry {
namespace {

/// More than Node's: nobody's line is shared here, and what a registry syncs at the end of each blob it syncs beside
/// the others.
constexpr std::size_t kParallelBlobs = 10;
constexpr const char* kAcceptManifests =
    "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json\r\n";

std::string ManifestPath(const ImageName& image, const std::string& reference) {
  return "/v2/" + image.repository + "/manifests/" + reference;
}

/// `type/subtype` as it was sent, without parameters.
std::string MediaTypeIn(const Answer& answer) {
  const std::string said = answer.Header("content-type");
  std::string type = said.substr(0, said.find(';'));
  while (type.ends_with(' ')) type.pop_back();
  return type;
}

Manifest FetchManifest(HttpConnection& from, const ImageName& image, const std::string& reference) {
  from.Ask({.method = "GET", .path = ManifestPath(image, reference), .headers = kAcceptManifests});
  const Answer answer = from.Await("GET");
  if (answer.status != 200) throw Unclear("a status");
  Manifest manifest{.bytes = from.ReceiveAll(kMaxJsonBytes), .media_type = MediaTypeIn(answer), .digest = {}};
  manifest.digest = DigestOf(manifest.bytes);
  const std::string said = answer.Header("docker-content-digest");
  if ((!said.empty() && said != manifest.digest) || (IsDigest(reference) && reference != manifest.digest)) {
    throw Unclear("another manifest");
  }
  return manifest;
}

Manifest FetchImage(HttpConnection& from, const ImageName& image) {
  Manifest root = FetchManifest(from, image, image.reference());
  if (!IsIndex(root.media_type)) return root;
  const Named child = ChildForThisMachine(root);
  Manifest chosen = FetchManifest(from, image, child.digest);
  if (chosen.media_type != child.media_type || chosen.bytes.size() != child.size_bytes) throw Unclear("another child");
  return chosen;
}

/// What may have a blob already, in the same registry.
using MountFrom = std::function<std::string(const std::string& digest)>;

struct Sent {
  std::atomic<std::size_t> blobs = 0;
  std::atomic<std::uint64_t> bytes = 0;
  std::atomic<std::size_t> mounted = 0;
  std::atomic<std::size_t> present = 0;
};

/// One of those that bring blobs at the same time.
struct Carrier {
  Carrier(const PlainHost& target, const Stop& stop, std::unique_ptr<BlobSource> blobs, const std::string& repository,
          const UploadJournal& journal)
      : to(target, stop), source(std::move(blobs)), upload(to, repository, *source, journal) {}

  HttpConnection to;
  std::unique_ptr<BlobSource> source;
  BlobUpload upload;
};

class Transfer {
 public:
  Transfer(const TransferWords& words, const PlainHost& to, Stop& stop) : words_(words), to_(to), stop_(stop) {}

  std::function<std::unique_ptr<BlobSource>()> make_source;
  MountFrom mount_from;

  /// All that `image` needs, then the image under its name. Throws an exception if not all of it is there then.
  void Put(const Manifest& image) {
    const std::vector<Named> blobs = BlobsOf(image);
    carriers_.push_back(MakeCarrier());
    HttpConnection& to = carriers_.front()->to;
    to.Ask({.method = "HEAD", .path = ManifestPath(words_.to, image.digest), .headers = kAcceptManifests});
    const int status = to.Await("HEAD").status;
    if (status == 404) {
      PutBlobs(blobs);
    } else if (status != 200) {
      throw Unclear("a status");
    }
    const std::string& reference = words_.to.digest.empty() ? words_.to.tag : image.digest;
    to.Ask({.method = "PUT",
            .path = ManifestPath(words_.to, reference),
            .headers = "Content-Type: " + image.media_type + "\r\n",
            .body_bytes = image.bytes.size()});
    to.Send({reinterpret_cast<const std::uint8_t*>(image.bytes.data()), image.bytes.size()});
    const Answer answer = to.AwaitWithoutBody("PUT");
    const std::string stored = answer.Header("docker-content-digest");
    if (answer.status != 201 || (!stored.empty() && stored != image.digest)) throw Unclear("a status");
  }

  void Say(const std::string& digest) {
    progress_.End();
    if (words_.quiet) return Print(digest + "\n");
    const std::string note = sent_.blobs + sent_.mounted + sent_.present == 0
                                 ? "everything was there already"
                                 : std::to_string(sent_.blobs) + " blobs sent (" + PrintBytes(sent_.bytes) + "), " +
                                       std::to_string(sent_.mounted) + " mounted, " + std::to_string(sent_.present) +
                                       " already there";
    PrintError(note + "\n");
    Print(words_.called + "\n" + digest + "\n");
  }

 private:
  std::unique_ptr<Carrier> MakeCarrier() {
    return std::make_unique<Carrier>(to_, stop_, make_source(), words_.to.repository, journal_);
  }

  void PutBlobs(const std::vector<Named>& blobs) {
    while (carriers_.size() < std::min(kParallelBlobs, blobs.size())) carriers_.push_back(MakeCarrier());
    std::vector<std::thread> threads;
    try {
      for (std::size_t i = 1; i < carriers_.size(); ++i) {
        threads.emplace_back([&, i] { Carry(*carriers_[i], blobs); });
      }
    } catch (const std::exception&) {
      Fail();
    }
    Carry(*carriers_.front(), blobs);
    for (std::thread& each : threads) each.join();
    if (failure_) std::rethrow_exception(failure_);
  }

  /// Whatever is still to be brought, until nothing is, or somebody has failed.
  void Carry(Carrier& carrier, const std::vector<Named>& blobs) noexcept {
    try {
      for (std::size_t next; (next = next_++) < blobs.size();) {
        const Named& blob = blobs[next];
        stop_.Check();
        Count(carrier.upload.Run(blob, mount_from(blob.digest),
                                 [&] { Tell(blob, "copying " + PrintBytes(blob.size_bytes)); }),
              blob);
      }
    } catch (const std::exception&) {
      Fail();
    }
  }

  void Count(Arrival arrival, const Named& blob) {
    if (arrival == Arrival::kSent) {
      ++sent_.blobs;
      sent_.bytes += blob.size_bytes;
      Tell(blob, "done");
    } else {
      ++(arrival == Arrival::kMounted ? sent_.mounted : sent_.present);
      Tell(blob, arrival == Arrival::kMounted ? "mounted" : "present");
    }
  }

  void Tell(const Named& blob, const std::string& what) {
    if (!words_.quiet) progress_.Say(blob.digest, what);
  }

  /// The first failure counts: the others follow from it.
  void Fail() noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
    stop_.Raise();
  }

  void Print(const std::string& text) {
    if (!PrintOut(text) && errno != EPIPE) throw SysError(errno, "write");
  }

  const TransferWords& words_;
  const PlainHost& to_;
  Stop& stop_;
  UploadJournal journal_;
  TransferProgress progress_;
  std::vector<std::unique_ptr<Carrier>> carriers_;
  std::atomic<std::size_t> next_ = 0;
  Sent sent_;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

void Copy(const TransferWords& words, Stop& stop) {
  const PlainHost from = PlainHostOf(words.from.registry);
  const PlainHost to = PlainHostOf(words.to.registry);
  Transfer transfer(words, to, stop);
  transfer.make_source = [&] { return std::make_unique<RegistrySource>(from, stop, words.from.repository); };
  const bool is_neighbour = from.registry == to.registry && words.from.repository != words.to.repository;
  transfer.mount_from = [&](const std::string&) { return is_neighbour ? words.from.repository : ""; };
  HttpConnection asking(from, stop);
  const Manifest image = FetchImage(asking, words.from);
  transfer.Put(image);
  transfer.Say(image.digest);
}

void Push(const TransferWords& words, Stop& stop) {
  if (::geteuid() != 0 || !OwnIds::Get().IsHost()) throw Unclear("somebody who is not root");
  const PlainHost to = PlainHostOf(words.to.registry);
  const Store store(words.root);
  const auto held = Lock::Try(store.root(), "store", Lock::Mode::kShared);  // nothing is swept meanwhile
  if (!held) throw Unclear("somebody who sweeps the store");
  const StoredImages images(store.root());
  Transfer transfer(words, to, stop);
  transfer.make_source = [&] { return std::make_unique<StoreSource>(images.folder()); };
  const auto neighbours = images.Neighbours(words.to);
  transfer.mount_from = [&](const std::string& digest) {
    const auto found = neighbours.find(digest);
    return found == neighbours.end() ? "" : found->second;
  };
  const Manifest image = images.Find(words.from.Print());
  transfer.Put(image);
  transfer.Say(image.digest);
}

}  // namespace

Outcome TransferImage(const TransferWords& words) {
  if (!words.quiet && ::isatty(STDERR_FILENO) == 1) throw Unclear("bars on a terminal");
  BeLikeNode();
  ::signal(SIGPIPE, SIG_IGN);
  Stop stop;
  try {
    words.is_push ? Push(words, stop) : Copy(words, stop);
  } catch (const std::exception&) {
    if (!stop.IsWanted()) throw;
    PrintError("gantry: interrupted; what has arrived there is not sent again\n");
    return {.exit_code = 1, .more = {}};
  }
  return {};
}

}  // namespace gantry
