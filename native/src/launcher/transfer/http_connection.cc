#include "launcher/transfer/http_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "launcher/unclear.h"

namespace gantry {
namespace {

using namespace std::chrono_literals;

// client/registry/connections.ts and bounded-body.ts
constexpr std::chrono::milliseconds kConnectPatience = 15s;
constexpr std::chrono::milliseconds kIdlePatience = 60s;
constexpr auto kSmallAnswerPatience = 60s;
/// Servers close what nobody uses, the hastiest after a few seconds: a question that crosses that would be lost.
constexpr auto kIdleUse = 2s;
constexpr std::size_t kUnwantedBytes = 64 * 1024;
constexpr std::string_view kEndOfHead = "\r\n\r\n";
constexpr std::string_view kEndOfLine = "\r\n";
constexpr std::string_view kProtocol = "HTTP/1.1 ";

/// RFC 9110, section 5.6.2
bool IsToken(std::string_view text) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  };
  return !text.empty() && std::ranges::all_of(text, is_plain);
}

bool IsPrintable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return (c >= ' ' && c <= '~') || c == '\t'; });
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view Trimmed(std::string_view text) {
  const std::size_t from = text.find_first_not_of(" \t");
  if (from == text.npos) return {};
  return text.substr(from, text.find_last_not_of(" \t") - from + 1);
}

std::uint64_t LengthOf(std::string_view text) {
  constexpr std::size_t kMostDigits = 15;  // what a number of JavaScript can be
  std::uint64_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (text.size() > kMostDigits || error != std::errc() || end != text.data() + text.size()) throw Unclear("a length");
  return length;
}

void SetOption(int socket, int option, const void* value, std::size_t bytes) {
  ::setsockopt(socket, IPPROTO_TCP, option, value, static_cast<socklen_t>(bytes));
}

}  // namespace

std::string Answer::Header(std::string_view name) const {
  const auto is_it = [&](const auto& header) { return header.first == name; };
  if (std::ranges::count_if(headers, is_it) > 1) throw Unclear("a header that is there twice");
  const auto found = std::ranges::find_if(headers, is_it);
  return found == headers.end() ? "" : found->second;
}

void HttpConnection::Ask(const Question& question) {
  if (!CanBeUsedAgain()) Open();
  std::string head;
  head.append(question.method).append(" ").append(question.path).append(" HTTP/1.1\r\nHost: ").append(host_.name);
  head.append("\r\nUser-Agent: gantry\r\nConnection: keep-alive\r\n").append(question.headers);
  if (question.body_bytes) head += "Content-Length: " + std::to_string(*question.body_bytes) + "\r\n";
  head += kEndOfLine;
  is_in_use_ = true;
  SendAll({reinterpret_cast<const std::uint8_t*>(head.data()), head.size()},
          question.body_bytes.value_or(0) > 0 ? MSG_MORE : 0);
}

/// Has a server that closes it done so? What it says unasked is no answer to what comes next.
bool HttpConnection::CanBeUsedAgain() {
  if (socket_.get() < 0 || is_in_use_ || closes_ || held_from_ != held_to_ || Clock::now() - used_ > kIdleUse) {
    return false;
  }
  char byte = 0;
  return ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void HttpConnection::Open() {
  is_in_use_ = closes_ = false;
  left_bytes_ = held_from_ = held_to_ = 0;
  for (const sockaddr_storage& address : host_.addresses) {
    socket_ = UniqueFd(checked(
        "make a socket", [&] { return ::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }));
    const int fd = socket_.get();
    const socklen_t length = address.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    int error = 0;
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), length) < 0) error = errno;
    if (error == EINPROGRESS) {
      AwaitEvents(POLLOUT, kConnectPatience);
      socklen_t size = sizeof error;
      checked("ask a socket", [&] { return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size); });
    }
    if (error != 0) continue;
    const int at_once = 1;
    SetOption(fd, TCP_NODELAY, &at_once, sizeof at_once);
    constexpr std::string_view kUnpaced = "reno";  // on loopback nobody has to be spared
    SetOption(fd, TCP_CONGESTION, kUnpaced.data(), kUnpaced.size());
    return;
  }
  socket_ = UniqueFd();
  throw Unclear("nobody to connect to");
}

void HttpConnection::AwaitEvents(short events, std::chrono::milliseconds patience) {
  std::array<pollfd, 2> polls{{{socket_.get(), events, 0}, {stop_.fd(), POLLIN, 0}}};
  const int ready =
      checked("wait", [&] { return ::poll(polls.data(), polls.size(), static_cast<int>(patience.count())); });
  stop_.Check();
  if (ready == 0) throw Unclear("silence");
}

void HttpConnection::AwaitRoom() {
  AwaitEvents(POLLOUT | POLLIN, kIdlePatience);
  char byte = 0;
  if (::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) throw Unclear("an answer before its time");
}

void HttpConnection::SendAll(std::span<const std::uint8_t> bytes, int flags) {
  while (!bytes.empty()) {
    const ssize_t put = ::send(socket_.get(), bytes.data(), bytes.size(), flags | MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {
      AwaitRoom();
    } else if (errno != EINTR) {
      throw SysError(errno, "send");
    }
  }
}

std::size_t HttpConnection::SendFile(int file, std::uint64_t offset, std::size_t most) {
  while (true) {
    off_t at = static_cast<off_t>(offset);
    const ssize_t put = ::sendfile(socket_.get(), file, &at, most);
    if (put >= 0) return static_cast<std::size_t>(put);
    if (errno == EAGAIN) {
      AwaitRoom();
    } else if (errno != EINTR) {
      throw SysError(errno, "send a file");
    }
  }
}

Answer HttpConnection::Await(std::string_view method) {
  const auto deadline = Clock::now() + kSmallAnswerPatience;
  while (true) {
    const std::string_view held(held_.data() + held_from_, held_to_ - held_from_);
    if (const std::size_t end = held.find(kEndOfHead); end != held.npos) {
      held_from_ += end + kEndOfHead.size();
      return ParseHead(held.substr(0, end + kEndOfLine.size()), method != "HEAD");
    }
    Fill(deadline);
  }
}

void HttpConnection::Fill(Clock::time_point deadline) {
  if (held_from_ == held_to_) held_from_ = held_to_ = 0;
  if (held_to_ == held_.size()) throw Unclear("an endless head");
  while (true) {
    const ssize_t got = ::recv(socket_.get(), held_.data() + held_to_, held_.size() - held_to_, MSG_DONTWAIT);
    if (got > 0) {
      held_to_ += static_cast<std::size_t>(got);
      return;
    }
    if (got == 0) throw Unclear("it was closed");
    if (errno != EAGAIN && errno != EINTR) throw SysError(errno, "receive");
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    AwaitEvents(POLLIN, std::clamp<std::chrono::milliseconds>(left, 0ms, kIdlePatience));
  }
}

Answer HttpConnection::ParseHead(std::string_view head, bool has_body) {
  Answer answer;
  const std::string_view status = head.substr(std::min(kProtocol.size(), head.size()), 3);
  if (!head.starts_with(kProtocol) || status.find_first_not_of("0123456789") != status.npos || status.size() < 3 ||
      !IsPrintable(head.substr(0, head.find(kEndOfLine)))) {
    throw Unclear("an answer that is none");
  }
  answer.status = std::atoi(std::string(status).c_str());
  for (std::size_t at = head.find(kEndOfLine) + kEndOfLine.size(); at < head.size();) {
    const std::size_t end = head.find(kEndOfLine, at);
    const std::string_view line = head.substr(at, end - at);
    const std::size_t colon = line.find(':');
    if (colon == line.npos || !IsToken(line.substr(0, colon)) || !IsPrintable(line)) throw Unclear("a header");
    answer.headers.emplace_back(Lower(line.substr(0, colon)), Trimmed(line.substr(colon + 1)));
    at = end + kEndOfLine.size();
  }
  const std::string encoding = Lower(answer.Header("content-encoding"));
  if (!answer.Header("transfer-encoding").empty() || !(encoding.empty() || encoding == "identity")) {
    throw Unclear("a body in another form");
  }
  const std::string connection = Lower(answer.Header("connection"));
  if (!connection.empty() && connection != "keep-alive" && connection != "close") throw Unclear("a connection");
  closes_ = connection == "close";
  const bool never_has = answer.status == 204 || !has_body;
  const std::string length = answer.Header("content-length");
  if (answer.status < 200 || (length.empty() && !never_has)) throw Unclear("a body without an end");
  if (!length.empty()) answer.body_bytes = LengthOf(length);
  if (never_has) answer.body_bytes = 0;
  left_bytes_ = answer.body_bytes;
  is_in_use_ = left_bytes_ > 0;
  used_ = Clock::now();
  return answer;
}

std::size_t HttpConnection::Receive(std::span<std::uint8_t> into) {
  into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_bytes_)));
  std::size_t got = std::min(into.size(), held_to_ - held_from_);
  if (got > 0) {
    std::memcpy(into.data(), held_.data() + held_from_, got);
    held_from_ += got;
  } else {
    ssize_t received = -1;
    while ((received = ::recv(socket_.get(), into.data(), into.size(), MSG_DONTWAIT)) < 0) {
      if (errno == EAGAIN) {
        AwaitEvents(POLLIN, kIdlePatience);
      } else if (errno != EINTR) {
        throw SysError(errno, "receive");
      }
    }
    if (received == 0) throw Unclear("it was closed");
    got = static_cast<std::size_t>(received);
  }
  left_bytes_ -= got;
  if (left_bytes_ == 0) {
    is_in_use_ = false;
    used_ = Clock::now();
  }
  return got;
}

std::string HttpConnection::ReceiveAll(std::size_t limit_bytes) {
  if (left_bytes_ > limit_bytes) throw Unclear("an answer that is too long");
  const auto deadline = Clock::now() + kSmallAnswerPatience;
  std::string body(static_cast<std::size_t>(left_bytes_), '\0');
  for (std::size_t at = 0; at < body.size();) {
    if (Clock::now() > deadline) throw Unclear("an answer that takes for ever");
    at += Receive({reinterpret_cast<std::uint8_t*>(body.data()) + at, body.size() - at});
  }
  return body;
}

Answer HttpConnection::AwaitWithoutBody(std::string_view method) {
  Answer answer = Await(method);
  ReceiveAll(kUnwantedBytes);
  return answer;
}

}  // namespace gantry
