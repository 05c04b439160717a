// What a large upload costs: each byte is read from the socket into a buffer that stays in the processor's cache,
// hashed there, and written. The kernel is told early to begin with the disk, so that the sync at the end finds little
// to do.
#include "addon/file_receiver.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "addon/socket_jobs.h"
#include "core/hash.h"

namespace gantry {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kBufferBytes = 256 << 10;
/// A turn of one upload: others of its thread wait no longer than this takes.
constexpr std::int64_t kTurnBytes = 1 << 20;
/// The kernel begins to write what is behind after so much.
constexpr std::int64_t kWriteBackBytes = 4 << 20;

/// More would find no processor to hash on, and no second upload in their turn.
std::size_t MostThreads() {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, kMostSocketThreads);
}

/// Two for each thread: a slow client holds no memory.
std::span<std::uint8_t> Buffer(std::size_t which) {
  thread_local std::array<std::vector<std::uint8_t>, 2> buffers;
  buffers[which].resize(kBufferBytes);
  return buffers[which];
}

class Receiving : public SocketJob {
 public:
  /// What came before is in `pieces`. `file` and they are good until the end was told.
  Receiving(int from, int file, std::vector<Bytes> pieces, std::int64_t offset, std::int64_t length, std::int64_t step,
            std::vector<Hash> hashes)
      : SocketJob(from, EPOLLIN | EPOLLRDHUP),
        file_(file),
        pieces_(std::move(pieces)),
        offset_(offset),
        left_(length),
        step_(step),
        next_step_(offset - offset % step + step),
        started_write_back_(offset),
        hashes_(std::move(hashes)) {}

  Turn Run() override {
    turn_bytes_ = 0;
    return GoOn({});
  }

  /// As long as both have bytes: what costs most is hashing them.
  std::array<Turn, 2> RunBoth(SocketJob& job) override {
    auto& other = static_cast<Receiving&>(job);
    turn_bytes_ = other.turn_bytes_ = 0;
    for (;;) {
      Bytes bytes, other_bytes;
      const auto turn = Next(Buffer(0), bytes);
      const auto other_turn = other.Next(Buffer(1), other_bytes);
      if (turn || other_turn) return {turn ? *turn : GoOn(bytes), other_turn ? *other_turn : other.GoOn(other_bytes)};
      const std::size_t common = std::min(hashes_.size(), other.hashes_.size());
      for (std::size_t i = 0; i < common; ++i) Hash::UpdateBoth(hashes_[i], bytes, other.hashes_[i], other_bytes);
      for (std::size_t i = common; i < hashes_.size(); ++i) hashes_[i].Update(bytes);
      for (std::size_t i = common; i < other.hashes_.size(); ++i) other.hashes_[i].Update(other_bytes);
      const bool written = Write(bytes);
      const bool other_written = other.Write(other_bytes);
      if (!written || !other_written) {
        return {written ? GoOn({}) : Turn::kOver, other_written ? other.GoOn({}) : Turn::kOver};
      }
    }
  }

  Telling News() override { return std::exchange(news_, {}); }

  Telling End() override { return Tell(true); }

  /// The one that was told is recorded: no more than one is on its way, so that little is sent again after a crash.
  void Resumed() override {
    told_ = false;
    // Not only when more comes: perhaps nothing does.
    if (offset_ >= next_step_) PassStep();
  }

 private:
  /// False if the last one is not recorded yet.
  bool PassStep() {
    if (told_) return false;
    told_ = true;
    next_step_ = offset_ - offset_ % step_ + step_;
    news_ = Tell(false);
    return true;
  }

  /// Until the end of the turn, with `bytes` that were taken from the socket already.
  Turn GoOn(Bytes bytes) {
    for (;;) {
      for (Hash& hash : hashes_) hash.Update(bytes);
      if (!Write(bytes)) return Turn::kOver;
      if (const auto turn = Next(Buffer(0), bytes)) return *turn;
    }
  }

  /// What is to be written next, in `buffer` if it comes from the socket; or how the turn ends.
  std::optional<Turn> Next(std::span<std::uint8_t> buffer, Bytes& bytes) {
    if (!pieces_.empty()) {
      bytes = pieces_.front();
      pieces_.erase(pieces_.begin());
      return std::nullopt;
    }
    if (left_ == 0) return Turn::kOver;
    if (offset_ >= next_step_ && !PassStep()) return Turn::kPaused;
    if (turn_bytes_ >= kTurnBytes) return Turn::kAgain;
    const auto wanted = std::min(static_cast<std::int64_t>(buffer.size()), left_);
    const ssize_t count = ::recv(socket(), buffer.data(), static_cast<std::size_t>(wanted), 0);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? Turn::kAgain : Fail("read a socket");
    if (count == 0) return Turn::kOver;  // the client has said less than it announced
    left_ -= count;
    moved_bytes_ += count;
    turn_bytes_ += count;
    bytes = buffer.first(static_cast<std::size_t>(count));
    return std::nullopt;
  }

  bool Write(Bytes bytes) {
    for (std::size_t done = 0; done < bytes.size();) {
      const auto rest = bytes.subspan(done);
      const ssize_t count = ::pwrite(file_, rest.data(), rest.size(), offset_ + static_cast<off_t>(done));
      if (count >= 0) {
        done += static_cast<std::size_t>(count);
      } else if (errno != EINTR) {
        Fail("write a file");
        return false;
      }
    }
    offset_ += static_cast<std::int64_t>(bytes.size());
    if (offset_ - started_write_back_ >= kWriteBackBytes) {
      // Only a hint: whether it is on disk is what the sync says.
      ::sync_file_range(file_, started_write_back_, offset_ - started_write_back_, SYNC_FILE_RANGE_WRITE);
      started_write_back_ = offset_;
    }
    return true;
  }

  Turn Fail(const char* step) {
    error = errno;
    failed_ = step;
    return Turn::kOver;
  }

  Telling Tell(bool over) const {
    std::vector<std::vector<std::uint8_t>> states;
    for (const Hash& hash : hashes_) states.push_back(hash.Export());
    return [which = id, over, failure = error, failed = failed_, offset = offset_, received = moved_bytes(),
            states = std::move(states)](Napi::Env env, const Napi::Function& callback) {
      const auto exported = Napi::Array::New(env, states.size());
      for (std::uint32_t i = 0; i < states.size(); ++i) {
        exported.Set(i, Napi::Buffer<std::uint8_t>::Copy(env, states[i].data(), states[i].size()));
      }
      callback.Call({Napi::Number::New(env, which), Napi::Boolean::New(env, over), Napi::Number::New(env, failure),
                     Napi::String::New(env, failed), Napi::Number::New(env, static_cast<double>(offset)),
                     Napi::Number::New(env, static_cast<double>(received)), exported});
    };
  }

  const int file_;
  std::vector<Bytes> pieces_;
  std::int64_t offset_;
  std::int64_t left_;
  std::int64_t turn_bytes_ = 0;
  const std::int64_t step_;
  std::int64_t next_step_;
  std::int64_t started_write_back_;
  std::vector<Hash> hashes_;
  bool told_ = false;
  Telling news_;
  const char* failed_ = "receive";
};

Bytes BytesOf(const Napi::Value& value) {
  const auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

std::vector<Bytes> ListOf(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<Bytes> list;
  for (std::uint32_t i = 0; i < array.Length(); ++i) list.push_back(BytesOf(array.Get(i)));
  return list;
}

/// start(socket, file, pieces, offset, length, step, states).
Napi::Value Start(const Napi::CallbackInfo& info) {
  try {
    std::vector<Hash> hashes;
    for (const Bytes state : ListOf(info[6])) hashes.push_back(Hash::Import(state));
    auto job =
        std::make_shared<Receiving>(info[0].As<Napi::Number>(), info[1].As<Napi::Number>(), ListOf(info[2]),
                                    info[3].As<Napi::Number>().Int64Value(), info[4].As<Napi::Number>().Int64Value(),
                                    info[5].As<Napi::Number>().Int64Value(), std::move(hashes));
    return Napi::Number::New(info.Env(), static_cast<SocketJobs*>(info.Data())->Start(info.Env(), std::move(job)));
  } catch (const SysError& error) {
    throw ToJs(info.Env(), error);
  } catch (const std::invalid_argument& error) {
    throw Napi::TypeError::New(info.Env(), error.what());
  }
}

/// openFileReceiver(callback, into).
void OpenFileReceiver(const Napi::CallbackInfo& info) {
  auto into = info[1].As<Napi::Object>();
  SocketJobs& jobs =
      OpenSocketJobs(info.Env(), info[0].As<Napi::Function>(), "gantry file receiver", MostThreads(), into);
  into.Set("start", Napi::Function::New(info.Env(), Start, "start", &jobs));
}

}  // namespace
}  // namespace gantry

void InitFileReceiver(Napi::Env env, Napi::Object exports) {
  exports.Set("openFileReceiver", Napi::Function::New(env, gantry::OpenFileReceiver, "openFileReceiver"));
}
