// Starts the commands of its standard input and tells how long each took, so that nothing of Node's is in the figure.
// A command is its arguments, each ended by NUL, and an empty one. Before them may stand `&`: it is not waited for. The command `wait` is
// the end of everything that was left, orphans of ended commands too: this process is their reaper, as conmon and shims are.
// A line for each (not for `&`): nanoseconds, the exit status, and the resident kilobytes of its largest process.
#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

int64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

void tell(int64_t nanoseconds, int status, long kilobytes) {
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  std::printf("%lld %d %ld\n", static_cast<long long>(nanoseconds), code, kilobytes);
  std::fflush(stdout);
}

pid_t start(std::vector<std::string>& words, size_t first, const posix_spawn_file_actions_t& files) {
  std::vector<char*> arguments;
  for (size_t at = first; at < words.size(); ++at) arguments.push_back(words[at].data());
  arguments.push_back(nullptr);
  pid_t pid = -1;
  return posix_spawn(&pid, arguments[0], &files, nullptr, arguments.data(), environ) == 0 ? pid : -1;
}

/** Of those that were left; the status is the first that is not 0. */
void wait_for_all(int64_t begin) {
  int worst = 0;
  long largest = 0;
  int status = 0;
  rusage usage{};
  while (wait4(-1, &status, 0, &usage) > 0) {
    if (worst == 0) worst = status;
    if (usage.ru_maxrss > largest) largest = usage.ru_maxrss;
  }
  tell(now() - begin, worst, largest);
}

}  // namespace

int main(int, char** argv) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  const char* log = argv[1] == nullptr ? "/dev/null" : argv[1];
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&files, 2, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  std::vector<std::string> words;
  int64_t left_since = 0;
  char* line = nullptr;
  size_t room = 0;
  for (ssize_t length = 0; (length = getdelim(&line, &room, '\0', stdin)) > 0;) {
    if (length > 1) {
      words.emplace_back(line);
      continue;
    }
    if (words.empty()) return 2;
    const int64_t begin = now();
    if (words[0] == "wait") {
      wait_for_all(left_since == 0 ? begin : left_since);
      left_since = 0;
    } else if (words[0] == "&") {
      if (left_since == 0) left_since = begin;
      if (start(words, 1, files) < 0) return 1;
    } else {
      const pid_t pid = start(words, 0, files);
      int status = 127 << 8;
      rusage usage{};
      if (pid > 0) wait4(pid, &status, 0, &usage);
      tell(now() - begin, status, usage.ru_maxrss);
    }
    words.clear();
  }
  return 0;
}
