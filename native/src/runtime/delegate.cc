#include "runtime/delegate.h"

#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace gantry {

Delegate::Delegate(const std::string& state_root) {
  constexpr int kSocket = 3;
  int pair[2];
  checked("make a socket pair", [&] { return ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair); });
  socket_ = UniqueFd(pair[0]);
  const UniqueFd theirs(pair[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), kSocket);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, kSocket + 1);
  std::string words[] = {"gantry-runtime", "--root", state_root, "serve", "--single"};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), words[4].data(), nullptr};
  char* envp[] = {nullptr};
  const int error = ::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv, envp);  // protected, as we are
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw SysError(error, "start a helper for a container with hooks");
}

Delegate::~Delegate() {
  socket_ = UniqueFd();
  if (pid_ < 0) return;
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Delegate::Kill() const { ::kill(pid_, SIGKILL); }

void Delegate::Pass(const Message& message) const {
  std::vector<int> descriptors;
  for (const UniqueFd& each : message.descriptors) descriptors.push_back(each.get());
  SendMessage(socket(), message, descriptors);
}

}  // namespace gantry
