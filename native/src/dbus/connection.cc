#include "dbus/connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

namespace gantry {
namespace {

constexpr std::int64_t kTimeoutMs = 30000;
constexpr std::size_t kMostSignals = 4096;  // systemd tells of all its jobs
constexpr std::size_t kMostLineBytes = 4096;
constexpr const char* kStep = "talk over D-Bus";

std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

UniqueFd Connect(const std::string& path) {
  const std::string step = "connect";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw SysError(ENAMETOOLONG, step);
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(
      checked(step.c_str(), [] { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }));
  checked(step.c_str(),
          [&] { return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address); });
  return socket;
}

}  // namespace

DbusConnection::DbusConnection(const std::string& socket_path, std::uint32_t uid) : socket_(Connect(socket_path)) {
  SetDeadline();
  Authenticate(uid);
}

/// "Authentication Protocol": EXTERNAL, whose identity is the uid in hexadecimal digits of its decimal ones. What
/// follows need not wait for the answer.
void DbusConnection::Authenticate(std::uint32_t uid) {
  std::string words("\0AUTH EXTERNAL ", 15);
  for (const char digit : std::to_string(uid)) words.append({'3', digit});
  Write(words + "\r\nBEGIN\r\n");
  std::size_t end = std::string::npos;
  while ((end = received_.find("\r\n")) == std::string::npos) {
    if (received_.size() > kMostLineBytes) throw DbusFormatError("an answer to AUTH that does not end");
    ReadMore();
  }
  if (!received_.starts_with("OK ")) throw SysError(EACCES, "authenticate as user " + std::to_string(uid));
  received_.erase(0, end + 2);
}

void DbusConnection::SetDeadline() { deadline_ms_ = NowMs() + kTimeoutMs; }

void DbusConnection::AwaitReady(short events) const {
  pollfd ready{socket_.get(), events, 0};
  const std::int64_t left = deadline_ms_ - NowMs();  // also of one who sends without end, and never the answer
  if (left <= 0 || checked(kStep, [&] { return ::poll(&ready, 1, static_cast<int>(left)); }) == 0) {
    throw SysError(ETIMEDOUT, kStep);
  }
}

void DbusConnection::Write(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      AwaitReady(POLLOUT);
    } else if (errno != EINTR) {
      throw SysError(errno, kStep);
    }
  }
}

void DbusConnection::ReadMore() {
  char buffer[16384];
  AwaitReady(POLLIN);
  const ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, 0);
  if (got == 0) throw SysError(ECONNRESET, kStep);
  if (got > 0) received_.append(buffer, static_cast<std::size_t>(got));
  if (got < 0 && errno != EAGAIN && errno != EINTR) throw SysError(errno, kStep);
}

DbusMessage DbusConnection::Read() {
  while (received_.size() < kDbusPrefixBytes) ReadMore();
  const std::size_t size = DbusMessageSize(received_);
  while (received_.size() < size) ReadMore();
  DbusMessage message = ParseDbusMessage(std::string_view(received_).substr(0, size));
  received_.erase(0, size);
  return message;
}

DbusMessage DbusConnection::Call(DbusMessage call) {
  SetDeadline();
  call.type = DbusMessage::kCall;
  call.serial = ++serial_;
  Write(PrintDbusMessage(call));
  for (;;) {
    DbusMessage message = Read();
    if (message.type == DbusMessage::kSignal) {
      signals_.push_back(std::move(message));
      if (signals_.size() > kMostSignals) signals_.pop_front();
      continue;
    }
    if (message.reply_serial != call.serial) continue;
    if (message.type == DbusMessage::kReturn) return message;
    if (message.type != DbusMessage::kError) continue;
    const bool has_text = message.signature.starts_with('s');
    throw DbusError(message.error_name, has_text ? DbusReader(message.body).String() : message.error_name);
  }
}

DbusMessage DbusConnection::AwaitSignal(const std::function<bool(const DbusMessage&)>& wanted) {
  SetDeadline();
  while (!signals_.empty()) {
    DbusMessage message = std::move(signals_.front());
    signals_.pop_front();
    if (wanted(message)) return message;
  }
  for (;;) {
    DbusMessage message = Read();
    if (message.type == DbusMessage::kSignal && wanted(message)) return message;
  }
}

}  // namespace gantry
