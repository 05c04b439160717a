// monitor: becomes the monitor of a container, or takes down what a killed one has left.
#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "monitor/json_text.h"
#include "monitor/monitor.h"
#include "runtime/cgroup.h"
#include "runtime/config.h"
#include "runtime/delete.h"
#include "runtime/field.h"
#include "runtime/files.h"
#include "runtime/network_namespace.h"
#include "runtime/process_child.h"
#include "runtime/report.h"
#include "runtime/state.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

constexpr int kStarter = 3;
constexpr const char* kLockFile = "monitor.lock";
constexpr const char* kControl = "control";
constexpr int kKilled = 128 + SIGKILL;

struct Folder {
  UniqueFd fd;
  std::string path;
};

Folder OpenFolder(const CommandLine& line) {
  if (line.arguments.size() != 1) throw UsageError("monitor needs exactly one argument: the container's folder");
  char path[PATH_MAX];
  if (::realpath(line.arguments[0].c_str(), path) == nullptr) throw SysError(errno, "open " + line.arguments[0]);
  const std::string step = "open " + std::string(path);
  return {UniqueFd(checked(step.c_str(), [&] { return ::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); })), path};
}

MonitorPlan ReadPlan(const Folder& folder) {
  try {
    return ParseMonitorPlan(ReadFile(folder.path + "/" + kMonitorPlanFile, kMaxJsonBytes));
  } catch (const ConfigError& error) {
    throw ConfigError(std::string(kMonitorPlanFile) + ": " + error.what());
  } catch (const JsonError& error) {
    throw ConfigError(std::string(kMonitorPlanFile) + ": " + error.what());
  }
}

/// A lock of this process, which none of its children has, and that ends with it. Nothing: somebody else has it.
UniqueFd Lock(const Folder& folder) {
  UniqueFd file(checked("open monitor.lock", [&] {
    return ::openat(folder.fd.get(), kLockFile, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  }));
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(file.get(), F_SETLK, &lock) == 0) return file;
  if (errno != EAGAIN && errno != EACCES) throw SysError(errno, "lock monitor.lock");
  return UniqueFd();
}

/// Of one that was killed before it had written down what it made: by their names, where it would have made them.
void RemoveUnrecordedCgroups(const MonitorPlan& plan, const Folder& folder) {
  try {
    const std::string path =
        CgroupPath(ParseConfig(ReadFile(folder.path + "/config.json", kMaxJsonBytes)).cgroups_path, plan.id);
    std::vector<std::string> found;
    for (const Hierarchy& hierarchy : FindHierarchies()) {
      if (::access((hierarchy.directory + path).c_str(), F_OK) == 0) found.push_back(hierarchy.directory + path);
    }
    if (path.ends_with(plan.id)) RemoveCgroup(found, std::nullopt);
  } catch (const std::exception&) {
    // An empty cgroup is in nobody's way; the container is.
  }
}

/// What a monitor that was killed has left of its container.
void RemoveLeftovers(const MonitorPlan& plan, const Folder& folder) {
  std::optional<StateDirectory> directory;
  try {
    directory = StateDirectory::Open(plan.state_root, plan.id);
  } catch (const StateError&) {
    return;  // nothing
  }
  directory->Lock();
  const auto state = directory->Read();
  if (!state) RemoveUnrecordedCgroups(plan, folder);
  DeleteContainer(*directory, state);
}

/// The last status, if it says that there is somebody who is no more.
std::optional<ContainerStatus> ReadStaleStatus(const Folder& folder) {
  std::string document;
  try {
    document = ReadFile(folder.path + "/" + kStatusFile, kMaxJsonBytes);
    const Json json = ParseJson(document);
    const Field root(&json, "");
    if (root["phase"].String() == "exited") return std::nullopt;
    ContainerStatus status;
    status.started_at = root["startedAt"].String();
    status.restart_count = static_cast<int>(root["restartCount"].Integer(0, INT32_MAX));
    status.stopped_by_user = root["stoppedByUser"].BoolOr(false);
    return status;
  } catch (const SysError& error) {
    if (error.code().value() == ENOENT) return std::nullopt;  // it never ran
    throw;
  } catch (const std::exception&) {
    return ContainerStatus{};  // it was being written when the power went
  }
}

int Clean(const CommandLine& line) {
  const Folder folder = OpenFolder(line);
  const UniqueFd lock = Lock(folder);
  if (lock.get() < 0) throw StateError("the container has a monitor");
  RemoveLeftovers(ReadPlan(folder), folder);
  ::unlinkat(folder.fd.get(), kControl, 0);
  if (auto status = ReadStaleStatus(folder)) {
    status->phase = ContainerStatus::Phase::kExited;
    status->exit_code = kKilled;
    status->error = "the container's monitor was killed, or the machine went down";
    status->finished_at = Rfc3339Now();
    WriteStatus(folder.fd.get(), PrintStatus(*status, nullptr), true);
  }
  return 0;
}

/// Another process, which has nothing of who has started us but the socket.
void Daemonise() {
  if (checked("leave the starter", [] { return ::fork(); }) > 0) ::_exit(0);
  checked("leave the starter", [] { return ::setsid(); });
  checked("leave the starter", [] { return ::chdir("/"); });
  const UniqueFd null(checked("open /dev/null", [] { return ::open("/dev/null", O_RDWR | O_CLOEXEC); }));
  for (int fd = 0; fd < 3; ++fd) checked("leave the starter", [&] { return ::dup2(null.get(), fd); });
  ::umask(0077);
}

UniqueFd TakeSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int each : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, each);
  checked("block signals", [&] { return ::sigprocmask(SIG_BLOCK, &set, nullptr); });
  return UniqueFd(checked("receive signals", [&] { return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK); }));
}

/// By a short name, whatever the folder's is: there is room for 107 bytes.
UniqueFd Listen(const Folder& folder) {
  UniqueFd socket(checked("make the control socket",
                          [] { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, kControl);
  ::unlinkat(folder.fd.get(), kControl, 0);  // of a monitor that was killed: ours is the lock
  checked("make the control socket", [&] { return ::fchdir(folder.fd.get()); });
  checked("make the control socket",
          [&] { return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address); });
  checked("make the control socket", [] { return ::chdir("/"); });
  checked("make the control socket", [&] { return ::listen(socket.get(), 128); });
  return socket;
}

void RunOnExit(const MonitorPlan& plan) {
  if (plan.on_exit.empty() || ::fork() != 0) return;
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (const std::string& word : plan.on_exit) argv.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& word : plan.on_exit_environment) envp.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  ::setsid();
  ResetSignals();
  ::umask(0022);
  ::syscall(SYS_close_range, 3U, ~0U, 0);
  ::execve(argv[0], argv.data(), envp.data());
  ::_exit(127);
}

/// Made before the container, and there until its monitor ends: restarts find it as they left it, and nothing has to be
/// taken down, whoever is killed.
UniqueFd HoldNetwork() {
  const UniqueFd made = MakeNetworkNamespace();
  return UniqueFd(checked("hold the network namespace", [&] { return ::dup3(made.get(), kOwnNetwork, O_CLOEXEC); }));
}

struct Prepared {
  UniqueFd lock;
  MonitorPlan plan;
  UniqueFd signals;
  UniqueFd listener;
  UniqueFd network;
};

Prepared Prepare(const Folder& folder) {
  Prepared all;
  all.lock = Lock(folder);
  if (all.lock.get() < 0) throw StateError("the container has a monitor already");
  all.plan = ReadPlan(folder);
  RemoveLeftovers(all.plan, folder);
  if (all.plan.own_network) all.network = HoldNetwork();
  all.signals = TakeSignals();
  all.listener = Listen(folder);
  return all;
}

void TellStarter(const std::exception& failure) {
  std::string reply = "{\"id\":0,\"error\":{\"message\":\"";
  AppendJsonText(reply, Explain(failure));
  reply += "\"}}";
  std::string frame;
  AppendFrame(frame, Frame::kReply, reply);
  ::send(kStarter, frame.data(), frame.size(), MSG_NOSIGNAL);
  ::shutdown(kStarter, SHUT_WR);
  // Until it has read that: what it has sent meanwhile would break the connection.
  constexpr timeval kPatience{2, 0};
  ::setsockopt(kStarter, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  char ignored[256];
  while (::read(kStarter, ignored, sizeof ignored) > 0) {
  }
}

}  // namespace

int MonitorVerb(const CommandLine& line) {
  if (line.clean) return Clean(line);
  ::syscall(SYS_close_range, kStarter + 1U, ~0U, 0);
  const Folder folder = OpenFolder(line);
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(kStarter, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
    throw UsageError("monitor is for the library, which holds the other end of a socket on descriptor 3");
  }
  checked("take the starter's socket", [] { return ::fcntl(kStarter, F_SETFD, FD_CLOEXEC); });
  Daemonise();
  Prepared all;
  try {
    all = Prepare(folder);
  } catch (const std::exception& error) {
    TellStarter(error);
    throw;
  }
  Monitor monitor(folder.fd.get(), folder.path, all.plan, UniqueFd(kStarter), std::move(all.listener),
                  std::move(all.signals));
  const bool started = monitor.Run();
  ::unlinkat(folder.fd.get(), kControl, 0);
  all.lock = UniqueFd();
  all.network = UniqueFd();
  if (started) RunOnExit(all.plan);
  monitor.SayTheRest();
  return 0;
}

}  // namespace gantry
