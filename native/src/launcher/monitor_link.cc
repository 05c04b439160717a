#include "launcher/monitor_link.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

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

MonitorLink::MonitorLink(MonitorLink&& other) noexcept
    : starter_(std::exchange(other.starter_, -1)),
      socket_(std::move(other.socket_)),
      incoming_(std::move(other.incoming_)),
      taken_(other.taken_),
      outgoing_(std::move(other.outgoing_)) {}

MonitorLink::~MonitorLink() {
  if (starter_ > 0) AwaitRuntime(starter_);
}

std::optional<MonitorLink> MonitorLink::Connect(const std::string& folder) {
  // A socket's name has room for 107 bytes; a descriptor of its folder is short.
  const UniqueFd place(
      checked("open a container's folder", [&] { return ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
  UniqueFd socket(checked("make a socket", [] { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); }));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(place.get()) + "/control";
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return MonitorLink(std::move(socket));
  }
  if (errno == ENOENT || errno == ECONNREFUSED) return std::nullopt;
  throw SysError(errno, "connect to a monitor");
}

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

std::optional<Frame> MonitorLink::Next() { return TakeFrame(incoming_, taken_, kMostFrameBytes); }

std::optional<Json> MonitorLink::AwaitReply(int request) {
  while (HasPending()) {
    pollfd writable{fd(), POLLOUT, 0};
    ::poll(&writable, 1, -1);
    Send();
  }
  try {
    while (true) {
      const auto frame = Next();
      if (!frame && !Receive()) return std::nullopt;
      if (!frame || frame->type != Frame::kReply) continue;
      Json reply = ParseJson(frame->payload);
      const Json* id = reply.Find("id");
      if (id != nullptr && (id->text == std::to_string(request) || id->text == "0")) return reply;
    }
  } catch (const JsonError&) {
    return std::nullopt;
  } catch (const ProtocolError&) {
    return std::nullopt;
  }
}

void MonitorLink::Dismiss() {
  ::shutdown(fd(), SHUT_WR);
  pollfd readable{fd(), POLLIN, 0};
  while (::poll(&readable, 1, kEndingMs) > 0 && Receive()) incoming_.clear();
}

bool HasStopped(MonitorLink& monitor) {
  static constexpr std::string_view kJustEnding = "container not running";
  const auto reply = monitor.AwaitReply(1);
  const Json* error = reply ? reply->Find("error") : nullptr;
  if (error == nullptr) return true;
  const Json* message = error->Find("message");
  return message != nullptr && message->text.find(kJustEnding) != std::string::npos;
}

}  // namespace gantry
