#include "monitor/client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace gantry {
namespace {

constexpr std::size_t kMostOutgoing = 256 * 1024;
constexpr std::size_t kReadBytes = 16 * 1024;

}  // namespace

Client::Client(UniqueFd socket) : socket_(std::move(socket)) {
  checked("accept a client", [&] { return ::fcntl(fd(), F_SETFL, O_RDWR | O_NONBLOCK); });
  checked("accept a client", [&] { return ::fcntl(fd(), F_SETFD, FD_CLOEXEC); });
}

short Client::Interest() const {
  // Who does not take answers may not ask; what one frame may be is the most that is kept of what it sends.
  const bool reads = !put_back_ && !IsBehind() && incoming_.size() - taken_ < kFrameHeaderBytes + kMaxFrameBytes;
  return static_cast<short>((reads ? POLLIN : 0) | (HasPending() ? POLLOUT : 0));
}

bool Client::Receive() {
  incoming_.erase(0, std::exchange(taken_, 0));
  char buffer[kReadBytes];
  const ssize_t got = ::read(fd(), buffer, sizeof buffer);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  incoming_.append(buffer, static_cast<std::size_t>(got));
  return true;
}

bool Client::Send() {
  const ssize_t put = ::send(fd(), outgoing_.data() + sent_, outgoing_.size() - sent_, MSG_NOSIGNAL);
  if (put < 0) return errno == EAGAIN || errno == EINTR;
  sent_ += static_cast<std::size_t>(put);
  if (sent_ == outgoing_.size()) {
    outgoing_.clear();
    outgoing_.shrink_to_fit();
    sent_ = 0;
  }
  return true;
}

bool Client::Discard() {
  char buffer[kReadBytes];
  const ssize_t got = ::read(fd(), buffer, sizeof buffer);
  return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

void Client::Conclude() { ::shutdown(fd(), SHUT_WR); }

std::optional<Frame> Client::Next() {
  if (put_back_) return std::exchange(put_back_, std::nullopt);
  return TakeFrame(incoming_, taken_, kMaxFrameBytes);
}

void Client::Say(Frame::Type type, std::string_view payload) { AppendFrame(outgoing_, type, payload); }

void Client::Pass(Frame::Type stream, std::string_view bytes) {
  if (output == Output::kNone) return;
  const bool catching_up = missed_bytes_ > 0 && outgoing_.size() - sent_ > kMostOutgoing / 2;
  if (output == Output::kSkip && (IsBehind() || catching_up)) {
    missed_bytes_ += bytes.size();
    return;
  }
  TellMissed();
  Say(stream, bytes);
}

void Client::TellMissed() {
  if (missed_bytes_ > 0) Say(Frame::kMissed, std::to_string(std::exchange(missed_bytes_, 0)));
}

bool Client::IsBehind() const { return outgoing_.size() - sent_ >= kMostOutgoing; }

}  // namespace gantry
