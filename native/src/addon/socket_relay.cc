// From one socket into another. By splice(2) through a pipe: pages change hands, and no byte is copied into this
// process. Or, where it has to be hashed, through a buffer that stays in the processor's cache.
#include "addon/socket_relay.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "addon/socket_jobs.h"
#include "core/hash.h"

namespace gantry {
namespace {

/// A turn of one relay: others of its thread wait no longer than this takes.
constexpr std::int64_t kTurnBytes = 1 << 20;
/// What the pipe may hold; less where the kernel does not give so much, and nothing depends on it.
constexpr int kPipeBytes = 1 << 20;
/// Of what is hashed.
constexpr std::size_t kBufferBytes = 256 << 10;

class Relaying : public SocketJob {
 public:
  /// `pieces` are sent first. They and `from`, which must not block, are good until the end was told. With a `hash`,
  /// all of it has to have the digest `wanted`, or the last of it is not sent.
  Relaying(int from, int to, std::vector<std::span<const std::uint8_t>> pieces, std::int64_t length,
           std::optional<Hash> hash, std::string wanted)
      : SocketJob(to, EPOLLOUT),
        from_(checked("duplicate a socket", [&] { return ::fcntl(from, F_DUPFD_CLOEXEC, 0); })),
        pieces_(std::move(pieces)),
        left_(length),
        hash_(std::move(hash)),
        wanted_(std::move(wanted)) {
    Unpaced(to);
    if (hash_) {
      buffer_.resize(kBufferBytes);
      for (const auto piece : pieces_) hash_->Update(piece);
      return;
    }
    std::array<int, 2> ends;
    checked("create a pipe", [&] { return ::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK); });
    out_ = UniqueFd(ends[0]);
    in_ = UniqueFd(ends[1]);
    ::fcntl(in_.get(), F_SETPIPE_SZ, kPipeBytes);
  }

  Awaited Awaits() const override {
    return starved_ ? Awaited{from_.get(), EPOLLIN | EPOLLRDHUP} : SocketJob::Awaits();
  }

  Turn Run() override {
    starved_ = false;
    if (left_ == 0 && !IsRight()) return Turn::kOver;
    for (std::int64_t turn = 0; turn < kTurnBytes;) {
      if (pieces_.empty() && held_ == 0) {
        if (left_ == 0) {
          silent_ = IsSilent();
          return Turn::kOver;
        }
        const ssize_t count = Receive();
        if (count < 0) {
          Acknowledge();
          starved_ = true;
          return Failed("read a socket");
        }
        if (count == 0) return Turn::kOver;  // it has said less than it announced
        left_ -= count;
        held_ += count;
        if (left_ == 0 && !IsRight()) return Turn::kOver;
      }
      const ssize_t count =
          pieces_.empty() ? Forward() : ::send(socket(), pieces_.front().data(), pieces_.front().size(), MSG_NOSIGNAL);
      if (count < 0) return Failed("write a socket");
      if (pieces_.empty()) {
        held_ -= count;
      } else {
        pieces_.front() = pieces_.front().subspan(static_cast<std::size_t>(count));
        if (pieces_.front().empty()) pieces_.erase(pieces_.begin());
      }
      moved_bytes_ += count;
      turn += count;
    }
    return Turn::kAgain;
  }

  Telling End() override {
    return [which = id, errno_ = error, step = step_, sent = moved_bytes(), silent = silent_, digest = digest_](
               Napi::Env env, const Napi::Function& callback) {
      callback.Call({Napi::Number::New(env, which), Napi::Number::New(env, errno_), Napi::String::New(env, step),
                     Napi::Number::New(env, static_cast<double>(sent)), Napi::Boolean::New(env, silent),
                     Napi::String::New(env, digest)});
    };
  }

  bool starved() const { return starved_; }

 private:
  static constexpr unsigned kFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;

  static std::size_t AtMost(std::int64_t wanted, std::int64_t most) {
    return static_cast<std::size_t>(std::min(wanted, most));
  }

  ssize_t Receive() {
    if (!hash_) return ::splice(from_.get(), nullptr, in_.get(), nullptr, AtMost(left_, kTurnBytes), kFlags);
    const auto most = AtMost(left_, static_cast<std::int64_t>(buffer_.size()));
    const ssize_t count = ::recv(from_.get(), buffer_.data(), most, MSG_DONTWAIT);
    forwarded_ = 0;
    if (count > 0) hash_->Update({buffer_.data(), static_cast<std::size_t>(count)});
    return count;
  }

  ssize_t Forward() {
    if (!hash_) return ::splice(out_.get(), nullptr, socket(), nullptr, AtMost(held_, kTurnBytes), kFlags);
    const ssize_t count = ::send(socket(), buffer_.data() + forwarded_, static_cast<std::size_t>(held_), MSG_NOSIGNAL);
    if (count > 0) forwarded_ += static_cast<std::size_t>(count);
    return count;
  }

  /// Once all has come. If not, it is over.
  bool IsRight() {
    if (!hash_ || !digest_.empty()) return true;
    digest_ = hash_->DigestHex();
    if (digest_ == wanted_) return true;
    error = EBADMSG;
    step_ = "compare a digest";
    return false;
  }

  /// At once, not after 40 ms: an answer that begins with a window of one or two segments would stop after each.
  void Acknowledge() {
    const int at_once = 1;
    const int before = errno;
    ::setsockopt(from_.get(), IPPROTO_TCP, TCP_QUICKACK, &at_once, sizeof at_once);
    errno = before;
  }

  /// Nothing has come behind the last byte, the end least of all.
  bool IsSilent() const {
    std::uint8_t next;
    return ::recv(from_.get(), &next, sizeof next, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }

  Turn Failed(const char* step) {
    if (errno == EAGAIN || errno == EINTR) return Turn::kAgain;
    error = errno;
    step_ = step;
    return Turn::kOver;
  }

  const UniqueFd from_;
  UniqueFd out_, in_;  // the pipe's ends
  std::vector<std::span<const std::uint8_t>> pieces_;
  std::int64_t left_;
  std::int64_t held_ = 0;  // in the pipe, or in the buffer
  std::optional<Hash> hash_;
  const std::string wanted_;
  std::string digest_;  // what it turned out to be
  std::vector<std::uint8_t> buffer_;
  std::size_t forwarded_ = 0;          // of the buffer
  std::atomic<bool> starved_ = false;  // it waits for `from_`, with nothing left to send
  bool silent_ = false;                // `from_`, when all was sent
  const char* step_ = "relay";
};

/// start(from, to, pieces, length, algorithm, digest): an algorithm only if it is to be hashed.
Napi::Value Start(const Napi::CallbackInfo& info) {
  try {
    std::vector<std::span<const std::uint8_t>> pieces;
    const auto given = info[2].As<Napi::Array>();
    for (std::uint32_t i = 0; i < given.Length(); ++i) {
      const auto piece = given.Get(i).As<Napi::Uint8Array>();
      if (piece.ByteLength() > 0) pieces.emplace_back(piece.Data(), piece.ByteLength());
    }
    std::optional<Hash> hash;
    std::string wanted;
    if (info[4].IsString()) {
      const bool is_wide = info[4].As<Napi::String>().Utf8Value() == "sha512";
      hash.emplace(is_wide ? HashAlgorithm::kSha512 : HashAlgorithm::kSha256);
      wanted = info[5].As<Napi::String>();
    }
    auto job = std::make_shared<Relaying>(info[0].As<Napi::Number>(), info[1].As<Napi::Number>(), std::move(pieces),
                                          info[3].As<Napi::Number>().Int64Value(), std::move(hash), std::move(wanted));
    return Napi::Number::New(info.Env(), static_cast<SocketJobs*>(info.Data())->Start(info.Env(), std::move(job)));
  } catch (const SysError& error) {
    throw ToJs(info.Env(), error);
  }
}

/// isStarved(id).
Napi::Value IsStarved(const Napi::CallbackInfo& info) {
  const auto* job = static_cast<SocketJobs*>(info.Data())->Find(info[0].As<Napi::Number>());
  return Napi::Boolean::New(info.Env(), job != nullptr && static_cast<const Relaying*>(job)->starved());
}

/// openSocketRelay(callback, into).
void OpenSocketRelay(const Napi::CallbackInfo& info) {
  auto into = info[1].As<Napi::Object>();
  SocketJobs& jobs =
      OpenSocketJobs(info.Env(), info[0].As<Napi::Function>(), "gantry socket relay", kMostSocketThreads, into);
  into.Set("start", Napi::Function::New(info.Env(), Start, "start", &jobs));
  into.Set("isStarved", Napi::Function::New(info.Env(), IsStarved, "isStarved", &jobs));
}

}  // namespace
}  // namespace gantry

void InitSocketRelay(Napi::Env env, Napi::Object exports) {
  exports.Set("openSocketRelay", Napi::Function::New(env, gantry::OpenSocketRelay, "openSocketRelay"));
}
