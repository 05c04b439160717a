// The least that a container can cost: all its namespaces, docker's mounts, another root, one execve, and the wait for its end. No cgroup, no
// state, no capabilities dropped, no masks, no checks. Argument: the root's folder, which is mounted upon itself, and its program's path.
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace {

void must(bool done) {
  if (!done) _exit(1);
}

void filesystem(const char* type, const char* target, unsigned long flags, const char* data) {
  must(mount(type, target, type, flags, data) == 0);
}

void device(const char* path, unsigned minor) {
  must(mknod(path, S_IFCHR | 0666, makedev(1, minor)) == 0);
}

[[noreturn]] void inside(const char* root, char* program) {
  must(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  must(mount(root, root, nullptr, MS_BIND | MS_REC, nullptr) == 0);
  must(chdir(root) == 0);
  filesystem("proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, nullptr);
  filesystem("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
  must(mkdir("dev/pts", 0755) == 0 && mkdir("dev/shm", 0755) == 0 && mkdir("dev/mqueue", 0755) == 0);
  filesystem("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
  filesystem("tmpfs", "dev/shm", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k");
  filesystem("mqueue", "dev/mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, nullptr);
  filesystem("sysfs", "sys", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, nullptr);
  device("dev/null", 3);
  device("dev/zero", 5);
  device("dev/full", 7);
  device("dev/random", 8);
  device("dev/urandom", 9);
  must(syscall(SYS_pivot_root, ".", ".") == 0);
  must(umount2(".", MNT_DETACH) == 0);
  char* const arguments[] = {program, nullptr};
  char* const environment[] = {nullptr};
  execve(program, arguments, environment);
  _exit(127);
}

}  // namespace

int main(int, char** argv) {
  if (argv[1] == nullptr || argv[2] == nullptr) return 2;
  clone_args wanted{};
  wanted.flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWCGROUP;
  wanted.exit_signal = SIGCHLD;
  const long pid = syscall(SYS_clone3, &wanted, sizeof wanted);
  if (pid == 0) inside(argv[1], argv[2]);
  int status = 0;
  if (pid < 0 || waitpid(static_cast<pid_t>(pid), &status, 0) < 0) return 1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
