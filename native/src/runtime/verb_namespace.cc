// namespace: runs a program as root of the user namespace that all commands of an ordinary user share.
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "runtime/config_error.h"
#include "runtime/print.h"
#include "runtime/shared_namespace.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

std::vector<IdMapping> ParseMappings(const std::vector<std::string>& texts, const char* option) {
  std::vector<IdMapping> mappings;
  for (const std::string& text : texts) {
    IdMapping mapping{};
    int end = 0;
    const int fields = std::sscanf(text.c_str(), "%u:%u:%u%n", &mapping.container, &mapping.host, &mapping.size, &end);
    if (fields != 3 || text[static_cast<std::size_t>(end)] != '\0') {
      throw UsageError(std::string(option) + " " + text + " must be INSIDE:OUTSIDE:COUNT");
    }
    mappings.push_back(mapping);
  }
  if (mappings.empty()) throw UsageError(std::string("namespace needs ") + option);
  return mappings;
}

/// Whoever else could write there could send us into a namespace of his.
UniqueFd OpenOwnFolder(const std::string& path) {
  const std::string step = "open " + path;
  UniqueFd folder(
      checked(step.c_str(), [&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
  struct stat status{};
  checked(step.c_str(), [&] { return ::fstat(folder.get(), &status); });
  if (status.st_uid != ::geteuid() || (status.st_mode & 0022) != 0) {
    throw UsageError(path + " must belong to you, and nobody else may write to it");
  }
  return folder;
}

NamespaceDoors MakeOrExplain(int folder, const IdMappings& mappings) {
  try {
    return MakeNamespaces(folder, mappings);
  } catch (const SysError& error) {
    if (error.step != "make a user namespace") throw;
    if (error.code().value() == ENOSPC) {
      throw ConfigError(
          "no more user namespaces are allowed here: raise user.max_user_namespaces with sysctl, or run as root");
    }
    if (error.code().value() != EPERM) throw;
    throw ConfigError(
        "this machine does not let ordinary users make user namespaces: let its administrator set "
        "kernel.unprivileged_userns_clone=1 (Debian) or kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu) with "
        "sysctl, or run as root");
  }
}

}  // namespace

int NamespaceVerb(const CommandLine& line) {
  if (line.arguments.empty() || line.folder.empty()) throw UsageError("namespace needs --folder and a program");
  const IdMappings mappings{ParseMappings(line.uid_mappings, "--uids"), ParseMappings(line.gid_mappings, "--gids")};
  const UniqueFd folder = OpenOwnFolder(line.folder);
  char* const directory = ::getcwd(nullptr, 0);
  const UniqueFd lock = LockNamespaces(folder.get());
  auto doors = FindNamespaces(folder.get());
  if (!doors) {
    doors = MakeOrExplain(folder.get(), mappings);
    if (!line.notice.empty()) PrintError(line.notice + "\n");
  }
  checked("enter the user namespace", [&] { return ::setns(doors->user.get(), CLONE_NEWUSER); });
  checked("enter the mounts of the user namespace", [&] { return ::setns(doors->mount.get(), CLONE_NEWNS); });
  // What has gone, or is hidden there, is no place to be either way.
  if (directory == nullptr || ::chdir(directory) != 0) checked("enter /", [] { return ::chdir("/"); });
  std::vector<char*> argv;
  for (const std::string& word : line.arguments) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::execv(argv[0], argv.data());
  throw SysError(errno, "execute " + line.arguments[0]);
}

}  // namespace gantry
