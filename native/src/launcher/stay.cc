#include "launcher/stay.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "launcher/store.h"
#include "launcher/unclear.h"
#include "runtime/json.h"

namespace gantry {
namespace {

constexpr std::size_t kInputBytes = 32 * 1024;

/// Of the container's monitor, by a connection of its own: one that waits behind what is typed would be too late.
class SignalLine {
 public:
  explicit SignalLine(const std::string& folder) : folder_(folder) {}

  /// It may have ended: then there is nobody to pass it on to.
  void Pass(int signal) {
    if (!monitor_) {
      auto connected = MonitorLink::Connect(folder_);
      if (!connected) return;
      monitor_.emplace(std::move(*connected));
    }
    monitor_->Say(Frame::kRequest, "{\"id\":" + std::to_string(++last_id_) + ",\"do\":\"signal\",\"signal\":" +
                                       std::to_string(signal) + ",\"noRestart\":false}");
    monitor_->AwaitReply(last_id_);  // so that they stay in their order
  }

 private:
  const std::string& folder_;
  std::optional<MonitorLink> monitor_;
  int last_id_ = 0;
};

/// One of our standard streams. Nothing is asked to take more than it can at once, where that is known: meanwhile
/// signals would wait.
class Outlet {
 public:
  explicit Outlet(int fd) : fd_(fd) {
    struct stat status{};
    most_ = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? SSIZE_MAX : PIPE_BUF;
  }

  int fd() const { return fd_; }
  /// False if nobody reads it any more. What cannot be written for another reason is dropped.
  bool Write(std::string_view& text) {
    const ssize_t put = gone_ ? -1 : ::write(fd_, text.data(), std::min(text.size(), most_));
    if (put < 0 && (errno == EAGAIN || errno == EINTR) && !gone_) return true;
    if (put < 0 && errno == EPIPE && !gone_) return false;
    if (put < 0) gone_ = true;
    text.remove_prefix(gone_ ? text.size() : static_cast<std::size_t>(put));
    return true;
  }

 private:
  int fd_;
  std::size_t most_;
  bool gone_ = false;
};

class Stay {
 public:
  Stay(MonitorLink& monitor, HeldSignals& signals, const std::string& folder, bool passes_input)
      : monitor_(monitor), signals_(signals), line_(folder), has_input_(passes_input) {}

  Ended Run() {
    while (TakeFrames() && Turn()) {
    }
    return ended_;
  }

 private:
  /// False at the end.
  bool Turn() {
    const bool writes = !text_.empty();
    const bool reads = has_input_ && !monitor_.HasPending();
    std::array<pollfd, 4> polls{{
        {signals_.fd(), POLLIN, 0},
        {monitor_.fd(), static_cast<short>((writes ? 0 : POLLIN) | (monitor_.HasPending() ? POLLOUT : 0)), 0},
        {writes ? outlet_->fd() : -1, POLLOUT, 0},
        {reads ? STDIN_FILENO : -1, POLLIN, 0},
    }};
    if (writes && !monitor_.HasPending()) polls[1].fd = -1;  // that it has gone is seen when all is written
    if (::poll(polls.data(), polls.size(), -1) < 0) return true;
    if (polls[0].revents != 0) {
      if (const int signal = signals_.Take()) Pass(signal);
    }
    if ((polls[1].revents & POLLOUT) != 0) monitor_.Send();
    if (polls[2].revents != 0 && !outlet_->Write(text_)) {
      ended_ = {.is_known = false, .exit_code = 1, .is_unread = true};
      return false;
    }
    if (polls[3].revents != 0) TakeInput();
    return (polls[1].revents & ~POLLOUT) == 0 || writes || monitor_.Receive();
  }

  /// Until there is output, which has to be written before more is taken. False if it is no monitor.
  bool TakeFrames() {
    while (text_.empty()) {
      const auto frame = NextFrame();
      if (!frame) return !broken_;
      if (frame->type == Frame::kOutput || frame->type == Frame::kErrors) {
        outlet_ = frame->type == Frame::kOutput ? &output_ : &errors_;
        held_ = frame->payload;
        text_ = held_;
      } else if (frame->type == Frame::kStatus) {
        const Json status = ParseJson(frame->payload);
        if (TextOf(status, "phase") != "exited") continue;
        ended_ = {true, std::atoi(status.Find("exitCode")->text.c_str())};
      }
    }
    return true;
  }

  std::optional<Frame> NextFrame() {
    try {
      return monitor_.Next();
    } catch (const ProtocolError&) {
      broken_ = true;
      return std::nullopt;
    }
  }

  void Pass(int signal) {
    try {
      line_.Pass(signal);
    } catch (const SysError&) {
      // It has ended.
    }
  }

  void TakeInput() {
    std::array<char, kInputBytes> typed;
    const ssize_t got = ::read(STDIN_FILENO, typed.data(), typed.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    has_input_ = got > 0;
    if (has_input_) {
      monitor_.Say(Frame::kInput, {typed.data(), static_cast<std::size_t>(got)});
    } else {
      monitor_.Say(Frame::kInputEnd, {});
    }
    monitor_.Send();
  }

  MonitorLink& monitor_;
  HeldSignals& signals_;
  SignalLine line_;
  bool has_input_;
  bool broken_ = false;
  Outlet output_{STDOUT_FILENO};
  Outlet errors_{STDERR_FILENO};
  Outlet* outlet_ = nullptr;
  std::string held_;
  std::string_view text_;  // of it, what is still to be written
  Ended ended_;
};

}  // namespace

HeldSignals::HeldSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  // Those of `PendingSignals` in client/verbs/verb-attach.ts.
  for (const int each : {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGCONT}) {
    ::sigaddset(&set, each);
  }
  checked("hold signals", [&] { return ::sigprocmask(SIG_BLOCK, &set, &before_); });
  descriptor_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

HeldSignals::~HeldSignals() {
  sigset_t of_our_writing;
  ::sigemptyset(&of_our_writing);
  ::sigaddset(&of_our_writing, SIGPIPE);
  const timespec at_once{};
  ::sigtimedwait(&of_our_writing, nullptr, &at_once);
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

int HeldSignals::Take() {
  signalfd_siginfo info{};
  if (::read(fd(), &info, sizeof info) != sizeof info) return 0;
  const bool is_own = info.ssi_signo == SIGPIPE && info.ssi_pid == static_cast<std::uint32_t>(::getpid());
  return is_own ? 0 : static_cast<int>(info.ssi_signo);
}

Ended StayUntilEnded(MonitorLink& monitor, HeldSignals& signals, const std::string& folder, bool passes_input) {
  return Stay(monitor, signals, folder, passes_input).Run();
}

}  // namespace gantry
