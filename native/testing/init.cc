// The program inside the containers of the tests: static, with one verb for each thing a test wants to do or see from
// inside, so that no distribution's image is needed. Verbs are chained with "--": init ls / -- exit 3.
#include <dirent.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>

extern char** environ;

namespace {

int Report(const char* what, const char* path) {
  printf("%s %s: %s\n", what, path, strerror(errno));
  return 1;
}

int Cat(const char* path) {
  const int fd = open(path, O_RDONLY);
  if (fd < 0) return Report("cat", path);
  char buffer[4096];
  ssize_t got = 0;
  while ((got = read(fd, buffer, sizeof buffer)) > 0) fwrite(buffer, 1, static_cast<size_t>(got), stdout);
  close(fd);
  return got < 0 ? Report("cat", path) : 0;
}

int Ls(const char* path) {
  DIR* directory = opendir(path);
  if (directory == nullptr) return Report("ls", path);
  while (const dirent* entry = readdir(directory)) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) printf("%s\n", entry->d_name);
  }
  closedir(directory);
  return 0;
}

int Fds() {
  for (int fd = 0; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) printf("fd %d\n", fd);
  }
  return 0;
}

int Pids() {
  DIR* directory = opendir("/proc");
  if (directory == nullptr) return Report("pids", "/proc");
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') printf("pid %s\n", entry->d_name);
  }
  closedir(directory);
  return 0;
}

int Interfaces() {
  FILE* file = fopen("/proc/net/dev", "r");
  if (file == nullptr) return Report("interfaces", "/proc/net/dev");
  char line[512];
  char name[64];
  while (fgets(line, sizeof line, file) != nullptr) {
    if (strchr(line, ':') != nullptr && sscanf(line, " %63[^:]", name) == 1) printf("interface %s\n", name);
  }
  fclose(file);
  return 0;
}

int Id() {
  gid_t groups[64];
  const int count = getgroups(64, groups);
  const mode_t mask = umask(0);
  umask(mask);
  printf("uid %d gid %d umask %03o groups", getuid(), getgid(), mask);
  for (int i = 0; i < count; ++i) printf(" %d", groups[i]);
  printf("\n");
  return 0;
}

int Mknod(const char* path, const char* major_number, const char* minor_number) {
  const dev_t device = makedev(static_cast<unsigned>(atoi(major_number)), static_cast<unsigned>(atoi(minor_number)));
  if (mknod(path, S_IFBLK | 0600, device) != 0) return Report("mknod", path);
  const int fd = open(path, O_RDONLY);
  if (fd < 0) return Report("open", path);
  printf("opened %s\n", path);
  return 0;
}

int Stat(const char* path) {
  struct stat status;
  if (lstat(path, &status) != 0) return Report("stat", path);
  printf("%s mode %o device %u:%u uid %d\n", path, status.st_mode, major(status.st_rdev), minor(status.st_rdev),
         static_cast<int>(status.st_uid));
  return 0;
}

int Write(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CREAT, 0644);
  if (fd < 0) return Report("write", path);
  const bool written = write(fd, text, strlen(text)) == static_cast<ssize_t>(strlen(text));
  close(fd);
  if (!written) return Report("write", path);
  printf("wrote %s\n", path);
  return 0;
}

/// `way`: "r" or "w". Devices are opened, and nothing is done with them.
int Open(const char* way, const char* path) {
  const int fd = open(path, (*way == 'w' ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return Report("open", path);
  close(fd);
  printf("opened %s\n", path);
  return 0;
}

/// So many MiB of memory, each page of them used.
int Use(int mebibytes) {
  const std::size_t size = static_cast<std::size_t>(mebibytes) << 20;
  char* memory = static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (memory == MAP_FAILED) return Report("use", "memory");
  for (std::size_t at = 0; at < size; at += 4096) memory[at] = 1;
  return printf("used %d MiB\n", mebibytes) < 0;
}

constexpr int kNotMade = -2;  // it did not come back

/// Whether it waits for something, and not for a processor.
bool Sleeps(pid_t pid) {
  char path[64];
  char text[512] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const int fd = open(path, O_RDONLY);
  if (fd < 0) return true;
  const ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  const char* name_end = length > 0 ? strrchr(text, ')') : nullptr;
  return name_end == nullptr || name_end[2] == 'S';
}

/// What becomes of one system call, made by a child: it may be killed for it, or wait.
void CallOne(long number, const long* arguments, volatile int* result) {
  *result = kNotMade;
  const pid_t child = fork();
  if (child == 0) {
    const long self = syscall(SYS_getpid);
    errno = 0;
    const long got =
        syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    const int error = got == -1 ? errno : 0;
    // What fork made comes here too, perhaps when a later call is being looked at.
    if (syscall(SYS_getpid) == self) *result = error;
    _exit(0);
  }
  int status = 0;
  pid_t ended = 0;
  for (int i = 0; ended == 0 && (i < 400 || (i < 10000 && !Sleeps(child))); ++i) {
    ended = waitpid(child, &status, WNOHANG);
    if (ended == 0) usleep(i < 10 ? 100 : 1000);
  }
  if (ended == 0) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    printf("call %ld waits\n", number);
  } else if (*result == kNotMade && WIFSIGNALED(status)) {
    printf("call %ld signal %d\n", number, WTERMSIG(status));
  } else if (*result == kNotMade) {
    printf("call %ld ends\n", number);
  } else {
    printf("call %ld errno %d\n", number, *result);
  }
}

/// call NUMBER [ARGUMENT …]; calls FROM TO makes all of them with -1 for each argument.
int Calls(bool all, int count, char** words) {
  void* shared = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return Report("calls", "mmap");
  long arguments[6] = {};
  if (!all) {
    for (int i = 2; i < count && i < 8; ++i) arguments[i - 2] = static_cast<long>(strtoul(words[i], nullptr, 0));
    CallOne(strtol(words[1], nullptr, 0), arguments, static_cast<int*>(shared));
    return 0;
  }
  for (long& argument : arguments) argument = -1;
  for (long number = atol(words[1]); number <= atol(words[2]); ++number) {
    CallOne(number, arguments, static_cast<int*>(shared));
  }
  return 0;
}

/// Attack on whoever enters this pid namespace from another executable (CVE-2019-5736): holds that executable, lets its
/// process go, which waits for a reader of the fifo, and writes to the file.
int OverwriteExe(const char* fifo) {
  struct stat own;
  if (stat("/proc/self/exe", &own) != 0) return Report("stat", "/proc/self/exe");
  int held = -1;
  for (int i = 0; i < 2000 && held < 0; ++i) {
    usleep(2000);
    for (int pid = 2; pid < 64 && held < 0; ++pid) {
      char path[64];
      snprintf(path, sizeof path, "/proc/%d/exe", pid);
      const int fd = open(path, O_RDONLY);
      struct stat other;
      if (fd >= 0 && fstat(fd, &other) == 0 && (other.st_ino != own.st_ino || other.st_dev != own.st_dev)) held = fd;
      if (fd >= 0 && held < 0) close(fd);
    }
  }
  if (held < 0) return printf("found no other executable\n") < 0;
  struct statvfs mount;
  const bool writable = fstatvfs(held, &mount) == 0 && (mount.f_flag & ST_RDONLY) == 0;
  printf("found an executable that is %s\n", writable ? "writable" : "read-only");
  const int reader = open(fifo, O_RDONLY);
  if (reader < 0) return Report("open", fifo);
  char said[4096];
  while (read(reader, said, sizeof said) > 0) {
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", held);
  for (int i = 0; i < 500; ++i) {
    const int fd = open(path, O_WRONLY);
    if (fd >= 0) return printf("overwrote %d\n", static_cast<int>(write(fd, "overwritten", 11))) < 0;
    if (errno != ETXTBSY) break;
    usleep(2000);
  }
  return Report("overwrite", "executable");
}

/// Whether a process runs this program by now, from whatever image: its descriptors are the container's own.
bool IsThisProgram(int pid) {
  char path[64];
  char exe[256] = "";
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  return readlink(path, exe, sizeof exe - 1) > 0 && strcmp(exe, "/init") == 0;
}

/// Looks into whoever enters this pid namespace and is not (yet) this program, for as long as two seconds.
int Spy() {
  int error = 0;
  for (int i = 0; i < 10000; ++i) {
    usleep(100);
    for (int pid = 2; pid < 64; ++pid) {
      char path[64];
      char name[64] = "";
      snprintf(path, sizeof path, "/proc/%d/comm", pid);
      const int fd = open(path, O_RDONLY);
      if (fd < 0) continue;
      const ssize_t got = read(fd, name, sizeof name - 1);
      close(fd);
      if (got <= 0 || strcmp(name, "init\n") == 0) continue;
      for (int held = 0; held < 32; ++held) {
        char target[256];
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, held);
        const ssize_t length = readlink(path, target, sizeof target - 1);
        if (length < 0) {
          if (errno != ENOENT) error = errno;
          continue;
        }
        if (IsThisProgram(pid)) break;  // since it was found: exec is no way back
        return printf("spied on its descriptors: %.*s\n", static_cast<int>(length), target) < 0;
      }
    }
  }
  errno = error;
  return error == 0 ? printf("saw nobody\n") < 0 : Report("spy", "on its descriptors");
}

/// Swaps two names, over and over, until it is killed.
int Exchange(const char* one, const char* other) {
  while (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0) {
  }
  return Report("exchange", one);
}

/// Gives the program that follows a session keyring with that key, as a login does.
int WithKey(const char* name, char** program) {
  syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  if (syscall(SYS_add_key, "user", name, "secret", 6, KEY_SPEC_SESSION_KEYRING) < 0) return Report("add", name);
  execv(program[0], program);
  return Report("exec", program[0]);
}

int FindKey(const char* name) {
  const long key = syscall(SYS_request_key, "user", name, nullptr, 0);
  return key < 0 ? Report("find", name) : printf("found %s\n", name) < 0;
}

/// Attack by the program that the kernel runs on the host for an empty cgroup (CVE-2022-0492). It is not written to.
int ReleaseAgent(const char* controller) {
  const auto mounted = [&] { return mount("cgroup", "/tmp", "cgroup", 0, controller) == 0; };
  const bool in_namespaces = !mounted() && unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP) == 0 && mounted();
  if (!in_namespaces && access("/tmp/cgroup.procs", F_OK) != 0) return Report("mount", "cgroup");
  const int fd = open("/tmp/release_agent", O_WRONLY);
  if (fd < 0) return Report("open", "release_agent");
  return printf("could write release_agent\n") < 0;
}

/// Who this process is to the scheduler, of the CPU and of the disks, and which CPUs it may run on.
int Scheduling() {
  struct {
    unsigned size = 48, policy = 0;
    unsigned long long flags = 0;
    int nice = 0;
    unsigned priority = 0;
    unsigned long long runtime = 0, deadline = 0, period = 0;
  } attributes;
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return Report("look at", "scheduler");
  const long io = syscall(SYS_ioprio_get, 1, 0);
  printf("policy %u flags %llu nice %d priority %u deadline %llu\nio class %ld level %ld\ncpus", attributes.policy,
         attributes.flags, attributes.nice, attributes.priority, attributes.deadline, io >> 13, io & 7);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &cpus)) printf(" %d", cpu);
  }
  return printf("\n") < 0;
}

int MemoryPolicy() {
  int mode = -1;
  unsigned long nodes[16] = {};
  if (syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8, nullptr, 0) != 0) return Report("look at", "policy");
  return printf("memory policy %d nodes %lx\n", mode, nodes[0]) < 0;
}

int Clocks() {
  timespec monotonic{};
  timespec boottime{};
  clock_gettime(CLOCK_MONOTONIC, &monotonic);
  clock_gettime(CLOCK_BOOTTIME, &boottime);
  return printf("monotonic %ld boottime %ld\n", monotonic.tv_sec, boottime.tv_sec) < 0;
}

volatile sig_atomic_t last_signal = 0;
void Note(int signal) { last_signal = signal; }

/// Says that it is ready, waits for a signal, says which it was.
int AwaitSignal() {
  for (const int each : {SIGTERM, SIGINT, SIGUSR1, SIGWINCH, SIGHUP}) signal(each, Note);
  printf("ready\n");
  fflush(stdout);
  while (last_signal == 0) usleep(2000);
  printf("signal %d\n", static_cast<int>(last_signal));
  return 0;
}

int Size() {
  winsize size{};
  if (ioctl(0, TIOCGWINSZ, &size) != 0) return Report("size", "0");
  printf("size %d %d\n", size.ws_row, size.ws_col);
  return 0;
}

/// Standard input to standard output, as it comes.
int Copy() {
  char buffer[4096];
  ssize_t got = 0;
  while ((got = read(0, buffer, sizeof buffer)) > 0) {
    if (write(1, buffer, static_cast<size_t>(got)) != got) return 1;
  }
  return got < 0;
}

/// So many numbered lines of 64 bytes.
int Flood(int lines) {
  for (int i = 0; i < lines; ++i) printf("%063d\n", i);
  return 0;
}

int Tty() {
  char name[256];
  const int fd = open("/dev/tty", O_RDWR);
  printf("tty %d %d %d controlling %d name %s\n", isatty(0), isatty(1), isatty(2), fd >= 0 ? 1 : 0,
         ttyname_r(0, name, sizeof name) == 0 ? name : "none");
  return 0;
}

int Run(int count, char** words) {
  const char* verb = words[0];
  const auto word = [&](int index) { return index < count ? words[index] : ""; };
  const auto is = [&](const char* name) { return strcmp(verb, name) == 0; };
  if (is("true")) return 0;
  if (is("exit")) exit(atoi(word(1)));
  if (is("echo")) return printf("%s\n", word(1)) < 0;
  if (is("cat")) return Cat(word(1));
  if (is("ls")) return Ls(word(1));
  if (is("fds")) return Fds();
  if (is("pids")) return Pids();
  if (is("interfaces")) return Interfaces();
  if (is("id")) return Id();
  if (is("mknod")) return Mknod(word(1), word(2), word(3));
  if (is("stat")) return Stat(word(1));
  if (is("write")) return Write(word(1), word(2));
  if (is("open")) return Open(word(1), word(2));
  if (is("use")) return Use(atoi(word(1)));
  if (is("mkdir")) return mkdir(word(1), 0755) == 0 ? 0 : Report("mkdir", word(1));
  if (is("outlive-parent")) return prctl(PR_SET_PDEATHSIG, 0);  // as whoever changes the user does
  if (is("call") || is("calls")) return Calls(is("calls"), count, words);
  if (is("to")) return freopen(word(1), "w", stdout) == nullptr ? Report("to", word(1)) : 0;
  if (is("overwrite-exe")) return OverwriteExe(word(1));
  if (is("spy")) return Spy();
  if (is("exchange")) return Exchange(word(1), word(2));
  if (is("with-key")) return WithKey(word(1), words + 2);
  if (is("find-key")) return FindKey(word(1));
  if (is("release-agent")) return ReleaseAgent(word(1));
  if (is("exec")) {
    fflush(stdout);
    execv(word(1), words + 1);
    return Report("exec", word(1));
  }
  if (is("await-signal")) return AwaitSignal();
  if (is("size")) return Size();
  if (is("tty")) return Tty();
  if (is("copy")) return Copy();
  if (is("flood")) return Flood(atoi(word(1)));
  if (is("raise")) {
    // The first process of a pid namespace is immune to its own signals: let a child be the example.
    const pid_t child = fork();
    if (child == 0) return raise(atoi(word(1)));
    int status = 0;
    waitpid(child, &status, 0);
    return printf("child ended by %d\n", WTERMSIG(status)) < 0;
  }
  if (is("sleep")) return static_cast<int>(sleep(static_cast<unsigned>(atoi(word(1)))));
  if (is("env")) {
    for (char** each = environ; *each != nullptr; ++each) printf("env %s\n", *each);
    return 0;
  }
  if (is("cwd")) {
    char path[4096];
    return getcwd(path, sizeof path) != nullptr ? printf("cwd %s\n", path) < 0 : Report("cwd", ".");
  }
  if (is("readlink")) {
    char target[4096];
    const ssize_t length = readlink(word(1), target, sizeof target - 1);
    if (length < 0) return Report("readlink", word(1));
    target[length] = '\0';
    return printf("%s -> %s\n", word(1), target) < 0;
  }
  if (is("names")) {
    utsname name;
    uname(&name);
    return printf("host %s domain %s\n", name.nodename, name.domainname) < 0;
  }
  if (is("machine")) {
    utsname name;
    uname(&name);
    return printf("machine %s\n", name.machine) < 0;
  }
  if (is("scheduling")) return Scheduling();
  if (is("memory-policy")) return MemoryPolicy();
  if (is("clocks")) return Clocks();
  printf("unknown verb %s\n", verb);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  int result = 0;
  for (int start = 1; start < argc;) {
    int end = start;
    while (end < argc && strcmp(argv[end], "--") != 0) ++end;
    if (end < argc) argv[end] = nullptr;  // as execv wants it
    if (end > start) result = Run(end - start, argv + start);
    fflush(stdout);
    start = end + 1;
  }
  return result;
}
