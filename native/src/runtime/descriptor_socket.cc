#include "runtime/descriptor_socket.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "core/sys.h"

namespace gantry {
namespace {

constexpr int kPatienceSeconds = 10;

UniqueFd Connect(const std::string& socket_path, const std::string& step) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.empty() || socket_path.size() >= sizeof address.sun_path) throw SysError(ENAMETOOLONG, step);
  ::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  UniqueFd socket(checked(step.c_str(), [] { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); }));
  const timeval patience{kPatienceSeconds, 0};
  checked(step.c_str(),
          [&] { return ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); });
  checked(step.c_str(),
          [&] { return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address); });
  return socket;
}

}  // namespace

void SendDescriptor(const std::string& socket_path, std::string_view bytes, int descriptor, const std::string& what) {
  const std::string step = "send " + what + " to " + socket_path;
  const UniqueFd socket = Connect(socket_path, step);
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  ::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  auto sent = checked(step.c_str(), [&] { return ::sendmsg(socket.get(), &message, MSG_NOSIGNAL); });
  for (bytes.remove_prefix(static_cast<std::size_t>(sent)); !bytes.empty();
       bytes.remove_prefix(static_cast<std::size_t>(sent))) {
    sent = checked(step.c_str(), [&] { return ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); });
  }
}

}  // namespace gantry
