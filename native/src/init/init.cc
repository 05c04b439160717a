// gantry-init: the first process of containers that ask for one (--init). It starts the program, passes signals on to
// it, reaps what is orphaned, and ends as the program does. Shown in containers, so it is static, and none of ours
// else.
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace {

constexpr int kUsage = 125;
constexpr int kNotExecutable = 126;
constexpr int kNotFound = 127;
constexpr int kSignalled = 128;

int Fail(const char* what, const char* name, int code) {
  const char* parts[] = {"gantry-init: ", what, " ", name, ": ", strerror(errno), "\n"};
  for (const char* part : parts) {
    if (write(STDERR_FILENO, part, strlen(part)) < 0) break;
  }
  return code;
}

/// In a process group of its own, which gets the terminal, so that its keys reach the program and not us as well.
void RunProgram(char** argv, const sigset_t& mask) {
  setpgid(0, 0);
  if (isatty(STDIN_FILENO) != 0) {
    signal(SIGTTOU, SIG_IGN);
    tcsetpgrp(STDIN_FILENO, getpgrp());
    signal(SIGTTOU, SIG_DFL);
  }
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  execvp(argv[0], argv);
  _exit(Fail("cannot execute", argv[0], errno == ENOENT ? kNotFound : kNotExecutable));
}

}  // namespace

int main(int argc, char** argv) {
  const int first = argc > 1 && strcmp(argv[1], "--") == 0 ? 2 : 1;
  if (argc <= first) return kUsage;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  const pid_t program = fork();
  if (program < 0) return Fail("cannot start", argv[first], kUsage);
  if (program == 0) RunProgram(argv + first, before);
  for (;;) {
    int number = 0;
    if (sigwait(&all, &number) != 0) continue;
    if (number != SIGCHLD) {
      kill(program, number);
      continue;
    }
    int status = 0;
    for (pid_t ended = 0; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (ended != program) continue;
      return WIFSIGNALED(status) ? kSignalled + WTERMSIG(status) : WEXITSTATUS(status);
    }
  }
}
