#include "runtime/foreground.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>

#include "runtime/console.h"
#include "runtime/descriptor_socket.h"
#include "runtime/files.h"
#include "runtime/starter.h"

namespace gantry {
namespace {

/// Whoever waits for the end of our input and output waits no longer.
void LeaveStarter(ConsoleRelay& relay) {
  relay.Leave();
  const UniqueFd null(checked("open /dev/null", [] { return ::open("/dev/null", O_RDWR | O_CLOEXEC); }));
  for (int fd = 0; fd < 3; ++fd) checked("leave the starter", [&] { return ::dup2(null.get(), fd); });
  ::setsid();  // fails in a process that is the first of a group, which then hangs up with its terminal
  TellLeft();
}

void ForwardSignals(int signals, const ChildProcess& process, int master) {
  signalfd_siginfo info{};
  while (::read(signals, &info, sizeof info) == sizeof info) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGWINCH && master >= 0) {
      CopyConsoleSize(master);
    } else if (signal != SIGPIPE) {
      process.Signal(signal);
    }
  }
}

}  // namespace

void CheckTerminal(const CommandLine& line, bool terminal, bool detached) {
  if (line.detach_keys && (!line.starter || !terminal || !line.console_socket.empty())) {
    throw UsageError("--detach-keys is for the library: it needs --starter, and a terminal of ours");
  }
  if (terminal && detached && line.console_socket.empty() && !line.detach_keys) {
    throw UsageError("cannot allocate tty if runc will detach without setting console socket");
  }
  if (!line.console_socket.empty() && !terminal) {
    throw UsageError("cannot use console socket if runc will not detach or allocate tty");
  }
}

void CheckPreservedDescriptors(const CommandLine& line) {
  for (int fd = 3; fd < 3 + line.preserve_fds; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) {
      throw UsageError("--preserve-fds " + std::to_string(line.preserve_fds) + ": descriptor " + std::to_string(fd) +
                       " is not open");
    }
  }
}

void HandOver(const CommandLine& line, const ChildProcess& process, UniqueFd& master) {
  if (!line.console_socket.empty()) {
    SendConsole(line.console_socket, master.get());
    master = UniqueFd();
  }
  if (!line.pidfd_socket.empty()) {
    SendDescriptor(line.pidfd_socket, "pidfd", process.pidfd(), "the descriptor of the process");
  }
  if (!line.pid_file.empty()) ReplaceFile(AT_FDCWD, line.pid_file, std::to_string(process.pid()), 0644);
}

UniqueFd TakeSignals(bool is_job) {
  sigset_t set;
  ::sigfillset(&set);
  for (const int ours : {SIGCHLD, SIGURG, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGTTIN, SIGTTOU}) {
    ::sigdelset(&set, ours);
  }
  if (is_job) ::sigdelset(&set, SIGTSTP);
  checked("block signals", [&] { return ::sigprocmask(SIG_BLOCK, &set, nullptr); });
  ::signal(SIGTTOU, SIG_IGN);  // a background job may still set its terminal's mode back
  return UniqueFd(checked("receive signals", [&] { return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK); }));
}

Ending Supervise(ChildProcess& process, int master, int signals, const Leaving& leaving) {
  std::unique_ptr<ConsoleRelay> relay;
  if (master >= 0) relay = std::make_unique<ConsoleRelay>(master, leaving.keys);
  if (relay && leaving.at_once) LeaveStarter(*relay);
  bool output = relay != nullptr;
  while (true) {
    const bool pending = output && relay->has_pending();
    pollfd events[4] = {{signals, POLLIN, 0},
                        {process.pidfd(), POLLIN, 0},
                        {output ? master : -1, static_cast<short>(POLLIN | (pending ? POLLOUT : 0)), 0},
                        {output && relay->wants_input() ? STDIN_FILENO : -1, POLLIN, 0}};
    if (::poll(events, 4, -1) < 0 && errno != EINTR) throw SysError(errno, "wait for the container");
    if (events[0].revents != 0) ForwardSignals(signals, process, master);
    if ((events[2].revents & POLLOUT) != 0) relay->ToContainer();
    if ((events[2].revents & ~POLLOUT) != 0) output = relay->FromContainer();
    if (events[3].revents != 0) {
      relay->FromInput();
      if (relay->is_to_be_left()) LeaveStarter(*relay);
    }
    if (events[1].revents != 0 && (events[2].revents & POLLIN) == 0) return process.Wait();
  }
}

}  // namespace gantry
