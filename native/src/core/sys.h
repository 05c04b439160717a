// System calls that own what they open and throw what went wrong. For the side that may allocate; never after clone.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace gantry {

class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    UniqueFd taken(std::move(other));
    std::swap(fd_, taken.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);  // never retried: on Linux the descriptor is gone even on EINTR
  }
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// errno plus what we were doing, in the words a user would use.
struct SysError : std::system_error {
  SysError(int error, std::string doing)
      : std::system_error(error, std::generic_category(), doing), step(std::move(doing)) {}
  std::string step;
};

/// Calls until it is not interrupted; throws SysError if it fails.
template <typename Call>
auto checked(const char* step, Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  if (result == -1) throw SysError(errno, step);
  return result;
}

}  // namespace gantry
