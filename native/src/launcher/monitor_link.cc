#include "launcher/monitor_link.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "core/spawn.h"

namespace gantry {
namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kMostFrameBytes = 1U << 20;  // more than a monitor ever sends
constexpr int kEndingMs = 5000;

}  // namespace

MonitorLink::MonitorLink(const std::string& runtime, const std::string& folder) {
  int pair[2];
  checked("make a socket pair", [&] { return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair); });
  socket_ = UniqueFd(pair[0]);
  const UniqueFd theirs(pair[1]);
  starter_ = SpawnRuntime(runtime, {"monitor", folder}, theirs.get());
}

MonitorLink::~MonitorLink() { AwaitRuntime(starter_); }

void MonitorLink::Send() {
  const ssize_t put = ::send(fd(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (put < 0 && (errno == EAGAIN || errno == EINTR)) return;
  outgoing_.erase(0, put < 0 ? outgoing_.size() : static_cast<std::size_t>(put));
}

bool MonitorLink::Receive() {
  incoming_.erase(0, std::exchange(taken_, 0));
  std::array<char, kReadBytes> buffer;
  const ssize_t got = ::read(fd(), buffer.data(), buffer.size());
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  incoming_.append(buffer.data(), static_cast<std::size_t>(got));
  return got > 0;
}

std::optional<Frame> MonitorLink::Next() {
  const std::string_view rest = std::string_view(incoming_).substr(taken_);
  if (rest.size() < kFrameHeaderBytes) return std::nullopt;
  const std::size_t length = FrameLength(rest);
  if (length > kMostFrameBytes) throw ProtocolError();
  if (rest.size() < kFrameHeaderBytes + length) return std::nullopt;
  taken_ += kFrameHeaderBytes + length;
  return Frame{static_cast<Frame::Type>(rest[4]), std::string(rest.substr(kFrameHeaderBytes, length))};
}

void MonitorLink::Dismiss() {
  ::shutdown(fd(), SHUT_WR);
  pollfd readable{fd(), POLLIN, 0};
  while (::poll(&readable, 1, kEndingMs) > 0 && Receive()) incoming_.clear();
}

}  // namespace gantry
