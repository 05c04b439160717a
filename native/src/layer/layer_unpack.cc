#include "layer/layer_unpack.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "core/defence.h"
#include "layer/stage_thread.h"
#include "layer/tar_reader.h"

namespace gantry {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{256} << 10;
constexpr std::size_t kChunks = 16;

std::uint64_t Now() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

/// Of the tar, with what came before it in front: what inflating refers to.
struct LayerUnpack::Chunk {
  std::unique_ptr<std::uint8_t[]> bytes =
      std::make_unique_for_overwrite<std::uint8_t[]>(kInflateWindowBytes + kChunkBytes);
  std::size_t size = 0;

  std::uint8_t* begin() const { return bytes.get() + kInflateWindowBytes; }
};

/// All chunks there are: who wants one waits until another is done with.
class LayerUnpack::Memory {
 public:
  Memory() {
    for (std::size_t i = 0; i < kChunks; ++i) free_.Push(std::make_unique<Chunk>());
  }
  /// Null when it is abandoned.
  std::shared_ptr<Chunk> Take() {
    auto chunk = free_.Pop();
    if (!chunk) return nullptr;
    return {chunk->release(), [this](Chunk* done) { free_.Push(std::unique_ptr<Chunk>(done)); }};
  }
  void Abandon() { free_.Abandon(); }

 private:
  Channel<std::unique_ptr<Chunk>> free_;
};

LayerUnpack::LayerUnpack(UnpackOrder order, std::function<void(std::uint64_t)> progress)
    : order_(std::move(order)),
      progress_(std::move(progress)),
      growth_(order_.readable),
      cancelled_(checked("create an eventfd", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); })),
      memory_(std::make_unique<Memory>()),
      hash_(order_.algorithm) {}

LayerUnpack::~LayerUnpack() = default;

bool LayerUnpack::Run(LayerWriter* writer) {
  std::thread inflating = StartThread([this, writer] { Inflate(writer != nullptr); });
  std::thread hashing = StartThread([this] { HashTar(); });
  try {
    if (writer != nullptr) Apply(*writer);
  } catch (...) {
    Fail(std::current_exception());
  }
  inflating.join();
  hashing.join();
  order_.blob = UniqueFd();  // who writes to a pipe is told
  if (failure_) std::rethrow_exception(failure_);
  if (Has(Defence::kRightDigest) && hash_.DigestHex() != order_.digest_hex) {
    throw LayerError("its content has the digest " + hash_.DigestHex() + ", not the diff_id " + order_.digest_hex +
                     " of the image's configuration");
  }
  const std::uint64_t before = Now();
  const bool needs_lower = writer != nullptr && writer->Finish();
  cost_.finish = Now() - before;
  return needs_lower;
}

void LayerUnpack::Cancel() { Fail(std::make_exception_ptr(SysError(ECANCELED, "unpack a layer"))); }

/// The first one counts; everybody stops.
void LayerUnpack::Fail(std::exception_ptr failure) {
  {
    const std::lock_guard<std::mutex> held(mutex_);
    if (!failure_) failure_ = std::move(failure);
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto told = ::write(cancelled_.get(), &one, sizeof one);
  growth_.Abandon();
  memory_->Abandon();
  to_hash_.Abandon();
  to_parse_.Abandon();
}

void LayerUnpack::Inflate(bool applies) try {
  LayerStream stream(order_.blob.get(), growth_, order_.compression, cancelled_.get());
  std::shared_ptr<Chunk> before;
  std::uint64_t tar_bytes = 0;
  for (bool ended = false; !ended;) {
    const auto chunk = memory_->Take();
    if (!chunk) return;
    std::uint8_t* const begin = chunk->begin();
    if (before)
      std::memcpy(begin - kInflateWindowBytes, before->begin() + kChunkBytes - kInflateWindowBytes,
                  kInflateWindowBytes);
    const auto reach = static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(tar_bytes, kInflateWindowBytes));
    chunk->size = static_cast<std::size_t>(stream.Fill(begin, begin + kChunkBytes, begin - reach) - begin);
    tar_bytes += chunk->size;
    if (Has(Defence::kBoundedTar) && tar_bytes > order_.limits.tar_bytes) {
      throw LayerError("it unpacks to more than " + std::to_string(order_.limits.tar_bytes) + " bytes from " +
                       std::to_string(stream.bytes_read()) + ": a decompression bomb");
    }
    ended = chunk->size < kChunkBytes;
    progress_(stream.bytes_read());
    to_hash_.Push(chunk);
    if (applies) to_parse_.Push(chunk);
    before = chunk;
  }
  to_hash_.Close();
  to_parse_.Close();
  cost_.inflate = CpuNanoseconds();
} catch (...) {
  Fail(std::current_exception());
}

void LayerUnpack::HashTar() {
  while (const auto chunk = to_hash_.Pop()) hash_.Update({(*chunk)->begin(), (*chunk)->size});
  cost_.hash = CpuNanoseconds();
}

void LayerUnpack::Apply(LayerWriter& writer) {
  const std::uint64_t before = CpuNanoseconds();
  FileFillers fillers(order_.filling_threads);
  LayerApplier applier(writer, fillers, order_.limits);
  TarReader reader(applier);
  while (const auto chunk = to_parse_.Pop()) {
    applier.SetMemory(*chunk);
    reader.Feed({reinterpret_cast<const char*>((*chunk)->begin()), (*chunk)->size});
  }
  if (HasFailed()) return;  // then this was not the end of it
  reader.Finish();
  fillers.Wait();
  cost_.parse = CpuNanoseconds() - before;
  cost_.fill = fillers.cpu_nanoseconds();
}

bool LayerUnpack::HasFailed() {
  const std::lock_guard<std::mutex> held(mutex_);
  return failure_ != nullptr;
}

}  // namespace gantry
