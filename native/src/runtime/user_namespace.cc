#include "runtime/user_namespace.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string>

#include "runtime/capabilities.h"
#include "runtime/config_error.h"

namespace gantry {
namespace {

constexpr std::int64_t kMostIds = 4294967295;  // the last id, -1, means "none"

std::vector<IdMapping> ParseList(const Field& field) {
  std::vector<IdMapping> mappings;
  for (const Field& item : field.Items()) {
    const auto container = item["containerID"].Integer(0, kMostIds - 1);
    const auto host = item["hostID"].Integer(0, kMostIds - 1);
    const auto size = item["size"].Integer(1, kMostIds);
    if (size > kMostIds - std::max(container, host)) item["size"].Refuse("leads beyond the last id");
    for (const IdMapping& other : mappings) {
      const auto overlap = [&](std::int64_t one, std::int64_t start) {
        return one < start + other.size && start < one + size;
      };
      if (overlap(container, other.container)) item["containerID"].Refuse("maps ids that are mapped already");
      if (overlap(host, other.host)) item["hostID"].Refuse("maps ids that are mapped already");
    }
    mappings.push_back(
        {static_cast<std::uint32_t>(container), static_cast<std::uint32_t>(host), static_cast<std::uint32_t>(size)});
  }
  return mappings;
}

/// A process that only is in a new user namespace, for as long as this object lives: a namespace is mapped from
/// outside, by what /proc shows of a process in it. It is dumpable, or its /proc would be root's: but nobody can see it
/// who is not us, or root.
class Holder {
 public:
  Holder() {
    int ready[2];
    int end[2];
    checked("make a pipe", [&] { return ::pipe2(ready, O_CLOEXEC); });
    const UniqueFd ready_read(ready[0]);
    UniqueFd ready_write(ready[1]);
    checked("make a pipe", [&] { return ::pipe2(end, O_CLOEXEC); });
    UniqueFd end_read(end[0]);
    end_ = UniqueFd(end[1]);
    clone_args args{};
    args.flags = CLONE_NEWUSER;
    args.exit_signal = SIGCHLD;
    pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
    if (pid_ < 0) throw SysError(errno, "make a user namespace");
    if (pid_ == 0) Hold(ready[1], end[0], end[1]);
    ready_write = UniqueFd();
    char byte = 0;
    if (::read(ready_read.get(), &byte, 1) != 1) throw SysError(ESRCH, "make a user namespace");
  }
  ~Holder() {
    end_ = UniqueFd();
    if (pid_ <= 0) return;
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  std::string Proc(const char* name) const { return "/proc/" + std::to_string(pid_) + "/" + name; }
  pid_t pid() const { return pid_; }

 private:
  [[noreturn]] static void Hold(int ready, int end, int other_end) noexcept {
    ::close(other_end);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    char byte = 0;
    if (::write(ready, &byte, 1) == 1) {
      while (::read(end, &byte, 1) < 0 && errno == EINTR) {
      }
    }
    ::_exit(0);
  }

  pid_t pid_ = -1;
  UniqueFd end_;
};

void WriteOnce(const std::string& path, const std::string& text, const std::string& step) {
  const UniqueFd file(checked(step.c_str(), [&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC); }));
  checked(step.c_str(), [&] { return ::write(file.get(), text.data(), text.size()); });
}

std::string Print(const std::vector<IdMapping>& mappings) {
  std::string text;
  for (const IdMapping& each : mappings) {
    text += std::to_string(each.container) + " " + std::to_string(each.host) + " " + std::to_string(each.size) + "\n";
  }
  return text;
}

/// What everybody may do for himself.
bool IsOwn(const std::vector<IdMapping>& mappings, std::uint32_t id) {
  return mappings.size() == 1 && mappings[0].size == 1 && mappings[0].host == id;
}

/// newuidmap and newgidmap are privileged, and give what /etc/subuid and /etc/subgid allow.
void MapByHelper(const char* program, pid_t pid, const std::vector<IdMapping>& mappings) {
  std::vector<std::string> words = {program, std::to_string(pid)};
  for (const IdMapping& each : mappings) {
    for (const std::uint32_t number : {each.container, each.host, each.size}) words.push_back(std::to_string(number));
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string paths[] = {std::string("/usr/bin/") + program, std::string("/usr/local/bin/") + program};
  char* const envp[] = {nullptr};
  const pid_t child = checked("start newuidmap", [] { return ::fork(); });
  if (child == 0) {
    ::dup2(2, 1);
    for (const std::string& path : paths) ::execve(path.c_str(), argv.data(), envp);
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  const std::string what = std::string(program) == "newuidmap" ? "uid" : "gid";
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    throw ConfigError("linux." + what + "Mappings: ids of others need " + program +
                      ", which is not there: install it (Debian's package uidmap), or map your own id alone");
  }
  throw ConfigError("linux." + what + "Mappings: " + program + " refuses: /etc/sub" + what +
                    " must give these ids to the user " + std::to_string(::geteuid()));
}

}  // namespace

IdMappings ParseIdMappings(const Field& owner) {
  IdMappings mappings{.uids = ParseList(owner["uidMappings"]), .gids = ParseList(owner["gidMappings"])};
  if (mappings.uids.empty() != mappings.gids.empty()) {
    owner[mappings.uids.empty() ? "uidMappings" : "gidMappings"].Refuse("must be given if the other is");
  }
  return mappings;
}

std::optional<std::uint32_t> HostId(const std::vector<IdMapping>& mappings, std::uint32_t id) {
  for (const IdMapping& each : mappings) {
    if (id >= each.container && id - each.container < each.size) return each.host + (id - each.container);
  }
  return std::nullopt;
}

bool IsPrivileged() { return ((PermittedCapabilities() >> CAP_SYS_ADMIN) & 1) != 0; }

UniqueFd MakeUserNamespace(const IdMappings& mappings) {
  const Holder holder;
  const bool privileged = ((PermittedCapabilities() >> CAP_SETUID) & 1) != 0;
  if (privileged || IsOwn(mappings.uids, ::geteuid())) {
    WriteOnce(holder.Proc("uid_map"), Print(mappings.uids), "apply linux.uidMappings");
  } else {
    MapByHelper("newuidmap", holder.pid(), mappings.uids);
  }
  if (!privileged && IsOwn(mappings.gids, ::getegid())) {
    // Or leaving a group would be a way to what is closed to its members (user_namespaces(7)).
    WriteOnce(holder.Proc("setgroups"), "deny", "apply linux.gidMappings");
    WriteOnce(holder.Proc("gid_map"), Print(mappings.gids), "apply linux.gidMappings");
  } else if (privileged) {
    WriteOnce(holder.Proc("gid_map"), Print(mappings.gids), "apply linux.gidMappings");
  } else {
    MapByHelper("newgidmap", holder.pid(), mappings.gids);
  }
  const std::string path = holder.Proc("ns/user");
  return UniqueFd(checked("open the user namespace", [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
}

}  // namespace gantry
