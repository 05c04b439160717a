// A layer's blob becomes a folder, as a pipeline of threads with bounded memory between them:
//
//     read and inflate ─┬─ hash the tar ──────────────────┐
//                       └─ parse, make names ─ fill files ─┴─ only if the digest is right
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "core/hash.h"
#include "core/sys.h"
#include "layer/channel.h"
#include "layer/growth.h"
#include "layer/layer_applier.h"
#include "layer/layer_stream.h"
#include "layer/layer_writer.h"

namespace gantry {

struct UnpackOrder {
  UniqueFd blob;                            // a file or a pipe
  std::uint64_t readable = Growth::kWhole;  // less of a file that is being written; `Reach` says when there is more
  Compression compression = Compression::kNone;
  HashAlgorithm algorithm = HashAlgorithm::kSha256;
  std::string digest_hex;  // of the tar
  LayerLimits limits;
  unsigned filling_threads = 1;
};

/// CPU time, in nanoseconds.
struct UnpackCost {
  std::uint64_t inflate = 0;
  std::uint64_t hash = 0;
  std::uint64_t parse = 0;  // and make names
  std::uint64_t fill = 0;
  std::uint64_t finish = 0;  // attributes of directories, sync; that is not CPU time, but time
};

class LayerUnpack {
 public:
  /// `progress` is told, on a thread of ours, how much of the blob was read.
  LayerUnpack(UnpackOrder order, std::function<void(std::uint64_t)> progress);
  ~LayerUnpack();
  LayerUnpack(const LayerUnpack&) = delete;
  LayerUnpack& operator=(const LayerUnpack&) = delete;

  /// Applies the blob to `writer`, or, if that is null, only compares its digest. True if `CompleteAgainst` is needed.
  /// Throws LayerError, DecodeError, SysError (ECANCELED after Cancel). Once.
  bool Run(LayerWriter* writer);
  /// From any thread: the first `bytes` of the blob may be read. Growth::kWhole is all.
  void Reach(std::uint64_t bytes) { growth_.Reach(bytes); }
  /// From any thread: Run ends soon.
  void Cancel();
  /// After Run.
  const UnpackCost& cost() const noexcept { return cost_; }

 private:
  struct Chunk;
  class Memory;
  using Shared = std::shared_ptr<const Chunk>;

  void Inflate(bool applies);
  void HashTar();
  void Apply(LayerWriter& writer);
  void Fail(std::exception_ptr failure);
  bool HasFailed();

  UnpackOrder order_;
  const std::function<void(std::uint64_t)> progress_;
  Growth growth_;
  const UniqueFd cancelled_;  // an eventfd, so that reading a pipe ends
  const std::unique_ptr<Memory> memory_;
  Channel<Shared> to_hash_;
  Channel<Shared> to_parse_;
  Hash hash_;
  UnpackCost cost_;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace gantry
