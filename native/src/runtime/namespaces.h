// Namespaces that already exist and are joined rather than made.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/sys.h"

namespace gantry {

/// `linux.namespaces[i].path`.
struct JoinedNamespace {
  std::string where;   // for messages
  std::uint64_t type;  // CLONE_NEW*
  std::string path;
  UniqueFd fd;
};

/// Opens them and makes sure that each is what it is said to be. Throws ConfigError, SysError.
void OpenNamespaces(std::vector<JoinedNamespace>& namespaces);

/// The types in which a process is somewhere else than we are.
std::uint64_t ForeignNamespaces(pid_t pid);

/// Whether it is the one that we are in ourselves. Throws SysError.
bool IsOwnNamespace(const JoinedNamespace& joined);

/// Whether our children can be born in the namespace of pids that we are in again, after they were in another: root
/// can. Whoever is root in a user namespace alone can not, where his pids are the host's.
bool MayReturnToPidNamespace();

/// While it lives, what we clone is born into that pid namespace: of a namespace's file, or of a process (its pidfd).
class ChildrenInPidNamespace {
 public:
  /// -1: nothing changes. Throws SysError.
  explicit ChildrenInPidNamespace(int fd);
  ~ChildrenInPidNamespace();
  ChildrenInPidNamespace(const ChildrenInPidNamespace&) = delete;
  ChildrenInPidNamespace& operator=(const ChildrenInPidNamespace&) = delete;

 private:
  UniqueFd own_;
};

}  // namespace gantry
