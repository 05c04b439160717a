// What arrives at the helper's socket: any bytes, any number of descriptors. A message says what its lengths say, or is
// refused; descriptors are the receiver's, and none is lost (CVE-2021-43784 was a length that nobody checked).
#include "runtime/protocol.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>

#include "fuzz.h"

namespace gantry::fuzz {
namespace {

struct Pair {
  UniqueFd ours;
  UniqueFd theirs;

  Pair() {
    int ends[2];
    checked("make a pair of sockets", [&] { return ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends); });
    ours = UniqueFd(ends[0]);
    theirs = UniqueFd(ends[1]);
  }
};

constexpr std::size_t kMostDescriptors = 8;

/// As somebody sends who does not know SendMessage.
void SendRaw(int socket, std::string_view bytes, std::size_t descriptors) {
  static const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostDescriptors)] = {};
  msghdr packet{};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  if (descriptors > 0) {
    packet.msg_control = control;
    packet.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors);
    cmsghdr* rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors);
    for (std::size_t i = 0; i < descriptors; ++i) {
      const int fd = null.get();
      std::memcpy(CMSG_DATA(rights) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  checked("send a packet", [&] { return ::sendmsg(socket, &packet, MSG_NOSIGNAL); });
}

int LowestFree() {
  const UniqueFd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return probe.get();
}

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gantry;
  if (size < 2 || size > sizeof(MessageHeader) + kMaxText + 64) return 0;
  static fuzz::Pair pair;
  const std::size_t descriptors = data[0] % (fuzz::kMostDescriptors + 1);
  const std::string_view bytes = fuzz::Text(data + 1, size - 1);
  fuzz::SendRaw(pair.ours.get(), bytes, descriptors);
  const int before = fuzz::LowestFree();
  try {
    const auto message = ReceiveMessage(pair.theirs.get());
    fuzz::Expect(message.has_value(), "a packet is no end of the conversation");
    fuzz::Expect(bytes.size() == sizeof(MessageHeader) + message->text.size() + message->more.size(),
                 "lengths are those of the packet");
    fuzz::Expect(message->text.size() <= kMaxText && message->more.size() <= kMaxText, "texts are bounded");
    fuzz::Expect(message->descriptors.size() == descriptors, "descriptors are those of the packet");
    std::vector<int> lent;
    for (const UniqueFd& each : message->descriptors) lent.push_back(each.get());
    fuzz::Expect(SendMessage(pair.ours.get(), *message, lent), "a message can be sent on");
    const auto again = ReceiveMessage(pair.theirs.get());
    fuzz::Expect(again && again->type == message->type && again->ticket == message->ticket &&
                     again->first == message->first && again->second == message->second &&
                     again->text == message->text && again->more == message->more &&
                     again->descriptors.size() == lent.size(),
                 "what was sent is what arrives");
  } catch (const SysError& error) {
    fuzz::Expect(error.code().value() == EPROTO, "what is malformed is EPROTO");
  }
  fuzz::Expect(fuzz::LowestFree() == before, "no descriptor stays behind");
  return 0;
}
