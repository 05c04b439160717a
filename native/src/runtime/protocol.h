// What the addon and `gantry-runtime serve` say to each other: one packet of a SOCK_SEQPACKET socket is one message,
// a fixed header, two texts, up to three descriptors. Lengths are checked before anything is believed.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "core/defence.h"
#include "core/sys.h"

namespace gantry {

struct Message {
  enum Type : std::uint32_t {
    // To the helper. What runs is attached as `first` says (Stdio); with kDescriptors they come along.
    kRun = 1,     // texts: id, bundle
    kKill = 2,    // first = signal
    kCreate = 6,  // as kRun, but its program waits for kStart
    kStart = 7,
    kExec = 8,    // texts: id, process.json
    kDetach = 9,  // it goes on when the owner ends; the helper stays for it, with the descriptors that it is given
    // From the helper.
    kStarted = 3,   // first = pid; descriptors: the terminal's master, or our ends of the pipes
    kFailed = 4,    // first = errno; texts: step, message
    kExited = 5,    // first = 1 if by a signal; second = exit code or signal
    kCreated = 10,  // as kStarted
  };
  enum Stdio : std::int32_t { kDescriptors = 0, kTerminal = 1, kPipes = 2 };

  std::uint32_t type = 0;
  std::uint32_t ticket = 0;  // chosen by the one who asks to run; names the container from then on
  std::int32_t first = 0;
  std::int32_t second = 0;
  std::string text;
  std::string more;
  std::vector<UniqueFd> descriptors;
};

inline constexpr std::size_t kMaxText = 160 * 1024;  // of both: what the kernel takes as one packet by default
inline constexpr std::size_t kMaxDescriptors = 3;

struct MessageHeader {
  std::uint32_t type;
  std::uint32_t ticket;
  std::int32_t first;
  std::int32_t second;
  std::uint32_t text_length;
  std::uint32_t more_length;
};

/// Sends one message; the descriptors are lent, not given. False with errno set on failure.
inline bool SendMessage(int socket, const Message& message, const std::vector<int>& descriptors = {}, int flags = 0) {
  const std::string text = message.text.substr(0, kMaxText);
  const std::string more = message.more.substr(0, kMaxText - text.size());
  const MessageHeader header{message.type,
                             message.ticket,
                             message.first,
                             message.second,
                             static_cast<std::uint32_t>(text.size()),
                             static_cast<std::uint32_t>(more.size())};
  iovec parts[3] = {{const_cast<MessageHeader*>(&header), sizeof header},
                    {const_cast<char*>(text.data()), text.size()},
                    {const_cast<char*>(more.data()), more.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)] = {};
  msghdr packet{};
  packet.msg_iov = parts;
  packet.msg_iovlen = 3;
  if (!descriptors.empty()) {
    packet.msg_control = control;
    packet.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
    std::memcpy(CMSG_DATA(rights), descriptors.data(), sizeof(int) * descriptors.size());
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &packet, MSG_NOSIGNAL | flags);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

/// What `receive` gives. That the other one is gone and has not read everything is told once, before what he has said.
template <typename Receive>
ssize_t ReceivedDespiteReset(const Receive& receive) {
  return checked("receive a message", [&] {
    const ssize_t got = receive();
    return got < 0 && errno == ECONNRESET ? receive() : got;
  });
}

/// Receives one message; nothing at the end of the conversation. Throws SysError; EPROTO for a malformed packet.
inline std::optional<Message> ReceiveMessage(int socket) {
  const ssize_t waiting = ReceivedDespiteReset([&] { return ::recv(socket, nullptr, 0, MSG_PEEK | MSG_TRUNC); });
  std::vector<char> buffer(std::min(static_cast<std::size_t>(waiting), sizeof(MessageHeader) + kMaxText));
  iovec part{buffer.data(), buffer.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)] = {};
  msghdr packet{};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  packet.msg_control = control;
  packet.msg_controllen = sizeof control;
  const ssize_t got = ReceivedDespiteReset([&] { return ::recvmsg(socket, &packet, MSG_CMSG_CLOEXEC); });
  if (got == 0) return std::nullopt;

  Message message;  // owns what arrived before anything can throw
  for (cmsghdr* each = CMSG_FIRSTHDR(&packet); each != nullptr; each = CMSG_NXTHDR(&packet, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(each) + i * sizeof(int), sizeof fd);
      message.descriptors.emplace_back(fd);
    }
  }
  MessageHeader header{};
  const auto size = static_cast<std::size_t>(got);
  if ((packet.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || size < sizeof header)
    throw SysError(EPROTO, "receive a message");
  std::memcpy(&header, buffer.data(), sizeof header);
  const std::size_t counted = sizeof header + std::size_t{header.text_length} + header.more_length;
  if (header.text_length > kMaxText || header.more_length > kMaxText ||
      (Has(Defence::kCheckedLengths) ? size != counted : size < counted)) {
    throw SysError(EPROTO, "receive a message");
  }
  message.type = header.type;
  message.ticket = header.ticket;
  message.first = header.first;
  message.second = header.second;
  message.text.assign(buffer.data() + sizeof header, header.text_length);
  message.more.assign(buffer.data() + sizeof header + header.text_length, header.more_length);
  return message;
}

}  // namespace gantry
