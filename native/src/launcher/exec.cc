// exec: what Node would hand to the runtime (client/containers/exec.ts), which is a process of its own: it stays with
// the program when this one is killed, and tells when it is not to be waited for any longer.
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/own_ids.h"
#include "core/sys.h"
#include "launcher/exec_process.h"
#include "launcher/like_node.h"
#include "launcher/package.h"
#include "launcher/store.h"
#include "launcher/unclear.h"
#include "launcher/verbs.h"

extern char** environ;

namespace gantry {
namespace {

constexpr int kStarter = 3;                                // runtime/starter.h
constexpr const char* kDetachKeys = "--detach-keys=1011";  // ctrl-p,ctrl-q
/// As verb-exec.ts. The terminal sends the first two to the whole group, the runtime included.
constexpr int kForwarded[] = {SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGCONT};

std::vector<std::string> RuntimesWords(const std::string& id, const Asked& asked) {
  std::vector<std::string> words{
      OwnFolder() + "/gantry-runtime", "--root", StateRoot(), "--log", "/dev/null", "exec", "--starter"};
  if (asked.detached) words.emplace_back("--detach");
  if (asked.terminal) words.emplace_back(kDetachKeys);
  words.push_back(id);
  return words;
}

std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

class Runtime {
 public:
  Runtime(std::vector<std::string> words, const std::string& document, const Asked& asked) {
    int ends[2];
    checked("make a pair of sockets", [&] { return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends); });
    socket_ = UniqueFd(ends[0]);
    const UniqueFd others(ends[1]);
    sigset_t forwarded;
    sigset_t before;
    ::sigemptyset(&forwarded);
    if (!asked.detached) {
      for (const int signal : kForwarded) ::sigaddset(&forwarded, signal);
    }
    signals_ = UniqueFd(checked("receive signals", [&] { return ::signalfd(-1, &forwarded, SFD_CLOEXEC); }));
    checked("block signals", [&] { return ::sigprocmask(SIG_BLOCK, &forwarded, &before); });
    Spawn(std::move(words), others.get(), asked, before);
    for (std::size_t put = 0; put < document.size();) {
      const ssize_t more = ::send(socket_.get(), document.data() + put, document.size() - put, MSG_NOSIGNAL);
      if (more < 0 && errno != EINTR) break;  // it has ended, and says why
      put += static_cast<std::size_t>(std::max<ssize_t>(more, 0));
    }
    ::shutdown(socket_.get(), SHUT_WR);
  }

  /// The first byte that it says, or none once it has ended.
  char Await() noexcept {
    while (true) {
      pollfd events[2] = {{socket_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
      if (::poll(events, 2, -1) < 0) continue;
      if ((events[1].revents & POLLIN) != 0) Forward();
      char said = '\0';
      if (events[0].revents != 0) return ::read(socket_.get(), &said, 1) == 1 ? said : '\0';
    }
  }

  /// As a shell has it. It never fails: what has run must not be run again.
  int ExitCode() noexcept {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  void Spawn(std::vector<std::string> words, int socket, const Asked& asked, const sigset_t& mask) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_adddup2(&actions, socket, kStarter);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
      const bool is_ours = !asked.detached && (fd != STDIN_FILENO || asked.interactive);
      if (!is_ours) ::posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    }
    ::posix_spawnattr_setsigmask(&attributes, &mask);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    const std::vector<char*> argv = Pointers(words);
    const int error = ::posix_spawn(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (error == 0) return;
    ::sigprocmask(SIG_SETMASK, &mask, nullptr);  // Node will see to it
    throw SysError(error, std::string("start ") + argv[0]);
  }

  void Forward() {
    signalfd_siginfo info{};
    if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
    const auto signal = static_cast<int>(info.ssi_signo);
    const bool of_terminal = (signal == SIGINT || signal == SIGQUIT) && ::isatty(STDIN_FILENO) == 1;
    if (!of_terminal) ::kill(pid_, signal);
  }

  UniqueFd socket_;
  UniqueFd signals_;
  pid_t pid_ = -1;
};

}  // namespace

int ExecIn(const Asked& asked) {
  if (::getuid() != 0 || !OwnIds::Get().IsHost()) throw Unclear("not root of the host");
  if (asked.terminal && asked.interactive && !asked.detached && ::isatty(STDIN_FILENO) == 0)
    throw Unclear("no terminal");
  const Store store(asked.root);
  const ContainerRecord record = store.Find(asked.container);
  const ContainerState state = store.StateOf(record);
  if (state.status != ContainerState::Status::kRunning) throw Unclear("it does not run");
  const std::string document = ExecDocument(record, state, asked);
  BeLikeNode();
  std::vector<std::string> words = RuntimesWords(record.id, asked);
  Runtime runtime(std::move(words), document, asked);
  const char said = runtime.Await();
  if (said == 'l') return 0;  // it stays, to hold the terminal
  const int code = runtime.ExitCode();
  if (said == 'f' && asked.detached) throw Unclear("it was not started");  // and nobody has said so
  return code;
}

}  // namespace gantry
