#include "runtime/console.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/descriptor_socket.h"

namespace gantry {
namespace {

bool WriteAll(int fd, const char* data, ssize_t size) {
  while (size > 0) {
    const ssize_t put = ::write(fd, data, static_cast<std::size_t>(size));
    if (put < 0 && errno == EAGAIN) {
      pollfd ready{fd, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (put < 0 && errno != EINTR) {
      return false;
    } else if (put > 0) {
      data += put;
      size -= put;
    }
  }
  return true;
}

}  // namespace

struct ConsoleRelay::Saved {
  termios settings;
};

Console OpenConsole(int devpts) {
  Console console;
  console.master = UniqueFd(checked("open a terminal of the container", [&] {
    return ::openat(devpts, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
  }));
  const int unlocked = 0;
  checked("unlock the terminal", [&] { return ::ioctl(console.master.get(), TIOCSPTLCK, &unlocked); });
  console.peer = UniqueFd(checked("open the container's end of the terminal", [&] {
    return ::ioctl(console.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  }));
  return console;
}

void ResizeConsole(int master, unsigned short rows, unsigned short columns) {
  const winsize size{rows, columns, 0, 0};
  checked("resize the terminal", [&] { return ::ioctl(master, TIOCSWINSZ, &size); });
}

void CopyConsoleSize(int master) {
  winsize size{};
  if (::ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) ::ioctl(master, TIOCSWINSZ, &size);
}

void SendConsole(const std::string& socket_path, int master) {
  SendDescriptor(socket_path, "/dev/ptmx", master, "the terminal");
}

ConsoleRelay::ConsoleRelay(int master, std::string leave_keys) : master_(master), leave_keys_(std::move(leave_keys)) {
  // A program that writes without reading would otherwise stop us, and we it.
  checked("prepare the terminal", [&] { return ::fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK); });
  auto saved = std::make_unique<Saved>();
  if (::tcgetattr(STDIN_FILENO, &saved->settings) != 0) return;
  termios raw = saved->settings;
  ::cfmakeraw(&raw);
  saved_ = std::move(saved);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

ConsoleRelay::~ConsoleRelay() { GiveBack(); }

void ConsoleRelay::GiveBack() {
  if (saved_) ::tcsetattr(STDIN_FILENO, TCSANOW, &saved_->settings);
  saved_.reset();
}

void ConsoleRelay::Leave() {
  GiveBack();
  input_ended_ = true;
}

void ConsoleRelay::FromInput() {
  char buffer[8192];
  const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
  if (got > 0) {
    is_to_be_left_ = leave_keys_.Take({buffer, static_cast<std::size_t>(got)}, pending_);
  } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
    input_ended_ = true;
    pending_ += '\4';  // what a terminal says when its input ended: Ctrl-D
  }
  ToContainer();
}

void ConsoleRelay::ToContainer() {
  const ssize_t put = ::write(master_, pending_.data(), pending_.size());
  if (put > 0) pending_.erase(0, static_cast<std::size_t>(put));
}

bool ConsoleRelay::FromContainer() {
  char buffer[8192];
  const ssize_t got = ::read(master_, buffer, sizeof buffer);
  if (got > 0) return WriteAll(STDOUT_FILENO, buffer, got);
  return got < 0 && (errno == EINTR || errno == EAGAIN);  // EIO: the last process closed the other end
}

}  // namespace gantry
