// run and create: from a bundle to a process, and for run in the foreground, to its end.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <iostream>
#include <memory>

#include "runtime/console.h"
#include "runtime/container.h"
#include "runtime/files.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

/// The signals that belong to the container rather than to us, readable from a descriptor.
UniqueFd TakeSignals() {
  sigset_t set;
  ::sigfillset(&set);
  for (const int ours : {SIGCHLD, SIGURG, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGTTIN, SIGTTOU}) {
    ::sigdelset(&set, ours);
  }
  checked("block signals", [&] { return ::sigprocmask(SIG_BLOCK, &set, nullptr); });
  ::signal(SIGTTOU, SIG_IGN);  // a background job may still set its terminal's mode back
  return UniqueFd(checked("receive signals", [&] { return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK); }));
}

void ForwardSignals(int signals, const Container& container, int master) {
  signalfd_siginfo info{};
  while (::read(signals, &info, sizeof info) == sizeof info) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGWINCH && master >= 0) {
      CopyConsoleSize(master);
    } else if (signal != SIGPIPE) {
      container.Signal(signal);
    }
  }
}

/// Until the first process ends. What it wrote to its terminal before is still copied.
Ending Supervise(Container& container, int signals) {
  const int master = container.plan().process.console_master.get();
  std::unique_ptr<ConsoleRelay> relay;
  if (master >= 0) relay = std::make_unique<ConsoleRelay>(master);
  bool output = relay != nullptr;
  while (true) {
    const bool pending = output && relay->has_pending();
    pollfd events[4] = {{signals, POLLIN, 0},
                        {container.pidfd(), POLLIN, 0},
                        {output ? master : -1, static_cast<short>(POLLIN | (pending ? POLLOUT : 0)), 0},
                        {output && relay->wants_input() ? STDIN_FILENO : -1, POLLIN, 0}};
    if (::poll(events, 4, -1) < 0 && errno != EINTR) throw SysError(errno, "wait for the container");
    if (events[0].revents != 0) ForwardSignals(signals, container, master);
    if ((events[2].revents & POLLOUT) != 0) relay->ToContainer();
    if ((events[2].revents & ~POLLOUT) != 0) output = relay->FromContainer();
    if (events[3].revents != 0) relay->FromInput();
    if (events[1].revents != 0 && (events[2].revents & POLLIN) == 0) return container.Wait();
  }
}

void CheckTerminal(const CommandLine& line, const Config& config, bool detached) {
  const bool terminal = config.process && config.process->terminal;
  if (terminal && detached && line.console_socket.empty()) {
    throw UsageError("cannot allocate tty if runc will detach without setting console socket");
  }
  if (!line.console_socket.empty() && !terminal) {
    throw UsageError("cannot use console socket if runc will not detach or allocate tty");
  }
}

std::unique_ptr<Container> Launch(const CommandLine& line, bool detached, bool wait_for_start) {
  if (line.arguments.size() != 1) throw UsageError(line.verb + " needs exactly one argument: the container's ID");
  for (int fd = 3; fd < 3 + line.preserve_fds; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) {
      throw UsageError("--preserve-fds " + std::to_string(line.preserve_fds) + ": descriptor " + std::to_string(fd) +
                       " is not open");
    }
  }
  Attachment attachment;
  attachment.preserve_fds = line.preserve_fds;
  attachment.die_with_parent = !detached;
  attachment.wait_for_start = wait_for_start;
  auto container = std::make_unique<Container>(line.root, line.arguments[0], line.bundle, attachment);
  Plan& plan = container->plan();
  CheckTerminal(line, plan.config, detached);
  for (const std::string& warning : plan.config.warnings) std::cerr << "warning: config.json: " << warning << "\n";
  container->AwaitOutcome();
  container->Record();
  if (!line.console_socket.empty()) {
    SendConsole(line.console_socket, plan.process.console_master.get());
    plan.process.console_master = UniqueFd();
  }
  if (!line.pid_file.empty()) ReplaceFile(AT_FDCWD, line.pid_file, std::to_string(container->pid()), 0644);
  return container;
}

}  // namespace

int RunVerb(const CommandLine& line) {
  if (line.detach) {
    Launch(line, true, false)->Keep();
    return 0;
  }
  const UniqueFd signals = TakeSignals();
  const auto container = Launch(line, false, false);
  const Ending ending = Supervise(*container, signals.get());
  container->Remove();
  return ending.ShellCode();
}

int CreateVerb(const CommandLine& line) {
  Launch(line, true, true)->Keep();
  return 0;
}

}  // namespace gantry
