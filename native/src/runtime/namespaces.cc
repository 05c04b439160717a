#include "runtime/namespaces.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/config_error.h"
#include "runtime/time_namespace.h"

namespace gantry {
namespace {

struct Kind {
  std::uint64_t type;
  const char* name;  // below /proc/PID/ns
};

constexpr Kind kKinds[] = {
    {CLONE_NEWUSER, "user"}, {CLONE_NEWNS, "mnt"},  {CLONE_NEWPID, "pid"},       {CLONE_NEWNET, "net"},
    {CLONE_NEWIPC, "ipc"},   {CLONE_NEWUTS, "uts"}, {CLONE_NEWCGROUP, "cgroup"}, {CLONE_NEWTIME, "time"},
};

bool Same(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

}  // namespace

void OpenNamespaces(std::vector<JoinedNamespace>& namespaces) {
  for (JoinedNamespace& each : namespaces) {
    const std::string step = each.where + ".path: open " + each.path;
    each.fd = UniqueFd(
        checked(step.c_str(), [&] { return ::open(each.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); }));
    const int type = ::ioctl(each.fd.get(), NS_GET_NSTYPE);
    if (type < 0) throw ConfigError(each.where + ".path: " + each.path + " is no namespace");
    if (static_cast<std::uint64_t>(type) != each.type) {
      throw ConfigError(each.where + ".path: " + each.path + " is a namespace of another type");
    }
  }
}

std::uint64_t ForeignNamespaces(pid_t pid) {
  std::uint64_t types = 0;
  for (const Kind& kind : kKinds) {
    struct stat own{};
    struct stat theirs{};
    const std::string name = std::string("/ns/") + kind.name;
    const std::string path = "/proc/" + std::to_string(pid) + name;
    if (::stat(("/proc/self" + name).c_str(), &own) != 0) continue;  // this kernel has none of the kind
    const std::string step = "look at " + path;
    checked(step.c_str(), [&] { return ::stat(path.c_str(), &theirs); });
    if (!Same(own, theirs)) types |= kind.type;
  }
  return types;
}

bool IsOwnNamespace(const JoinedNamespace& joined) {
  for (const Kind& kind : kKinds) {
    if (kind.type != joined.type) continue;
    struct stat own{};
    struct stat theirs{};
    const std::string path = std::string("/proc/self/ns/") + kind.name;
    checked("look at a namespace", [&] { return ::stat(path.c_str(), &own); });
    checked("look at a namespace", [&] { return ::fstat(joined.fd.get(), &theirs); });
    return Same(own, theirs);
  }
  return false;
}

namespace {

UniqueFd OpenPidNamespace() {
  return UniqueFd(checked("open the pid namespace", [] { return ::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC); }));
}

}  // namespace

bool MayReturnToPidNamespace() { return ::setns(OpenPidNamespace().get(), CLONE_NEWPID) == 0; }

ChildrenInPidNamespace::ChildrenInPidNamespace(int fd) {
  if (fd < 0) return;
  own_ = OpenPidNamespace();
  checked("join the pid namespace", [&] { return ::setns(fd, CLONE_NEWPID); });
}

ChildrenInPidNamespace::~ChildrenInPidNamespace() {
  // It cannot fail where MayReturnToPidNamespace.
  if (own_.get() >= 0) ::setns(own_.get(), CLONE_NEWPID);
}

}  // namespace gantry
