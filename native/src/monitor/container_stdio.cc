#include "monitor/container_stdio.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/console.h"
#include "runtime/pipe.h"

namespace gantry {
namespace {

constexpr std::size_t kReadBytes = 32 * 1024;  // what a frame takes, too

void NeverBlock(int fd) {
  checked("make a pipe", [&] { return ::fcntl(fd, F_SETFL, O_NONBLOCK); });
}

/// What the container writes to; ours never blocks.
void MakeOutput(UniqueFd& ours, UniqueFd& theirs) {
  Pipe pipe;
  pipe.LetAnyUserOpen();
  NeverBlock(pipe.read.get());
  ours = std::move(pipe.read);
  theirs = std::move(pipe.write);
}

}  // namespace

ContainerStdio::ContainerStdio(bool terminal, InputMode mode) : terminal_(terminal) {
  if (terminal) return;
  if (mode == InputMode::kNone) {
    child_ends_[0] = UniqueFd(checked("open /dev/null", [] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }));
  } else {
    Pipe pipe;
    pipe.LetAnyUserOpen();
    NeverBlock(pipe.write.get());
    input_ = std::move(pipe.write);
    child_ends_[0] = std::move(pipe.read);
  }
  MakeOutput(output_, child_ends_[1]);
  MakeOutput(errors_, child_ends_[2]);
}

void ContainerStdio::Started(UniqueFd master) {
  for (UniqueFd& end : child_ends_) end = UniqueFd();
  if (!terminal_) return;
  checked("prepare the terminal", [&] { return ::fcntl(master.get(), F_SETFL, O_RDWR | O_NONBLOCK); });
  peer_ = UniqueFd(checked("open the container's end of the terminal",
                           [&] { return ::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC); }));
  input_ = UniqueFd(checked("prepare the terminal", [&] { return ::fcntl(master.get(), F_DUPFD_CLOEXEC, 3); }));
  output_ = std::move(master);
}

ContainerStdio::Got ContainerStdio::Read(UniqueFd& from, std::string& bytes) {
  if (from.get() < 0) return Got::kEnd;
  bytes.resize(kReadBytes);
  ssize_t got = 0;
  do {
    got = ::read(from.get(), bytes.data(), bytes.size());
  } while (got < 0 && errno == EINTR);
  bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  if (got > 0) return Got::kBytes;
  if (got < 0 && errno == EAGAIN) return Got::kNothing;
  from = UniqueFd();  // EIO, of a terminal: it was hung up
  return Got::kEnd;
}

bool ContainerStdio::WriteInput(std::string_view bytes) {
  if (!pending_input_.empty()) return false;
  if (input_.get() < 0 || input_ends_) return true;
  pending_input_ = bytes;
  FlushInput();
  return true;
}

void ContainerStdio::FlushInput() {
  if (!pending_input_.empty()) {
    const ssize_t put = ::write(input_.get(), pending_input_.data(), pending_input_.size());
    if (put < 0 && (errno == EAGAIN || errno == EINTR)) return;
    pending_input_.erase(0, put < 0 ? std::string::npos : static_cast<std::size_t>(put));
    if (put < 0) input_ends_ = true;
    if (!pending_input_.empty()) return;
    pending_input_.shrink_to_fit();
  }
  if (input_ends_) input_ = UniqueFd();
}

void ContainerStdio::EndInput() {
  if (terminal_) return;
  input_ends_ = true;
  FlushInput();
}

void ContainerStdio::Resize(unsigned short rows, unsigned short columns) {
  if (terminal_ && output_.get() >= 0) ResizeConsole(output_.get(), rows, columns);
}

}  // namespace gantry
