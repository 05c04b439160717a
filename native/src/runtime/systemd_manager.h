// systemd itself, as org.freedesktop.systemd1(5) describes how it is asked.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "dbus/connection.h"
#include "runtime/systemd_property.h"

namespace gantry {

class SystemdManager {
 public:
  /// The machine's, or the user's own: by the socket that systemd itself listens on, else over the bus. Throws
  /// ChildError where there is none, saying what to do.
  explicit SystemdManager(bool of_user);

  /// A new unit, once it is there. One of that name that has failed gives way. Throws ChildError.
  void Start(const std::string& unit, const std::vector<UnitProperty>& properties);
  /// Until the machine is shut down. Throws ChildError.
  void SetProperties(const std::string& unit, const std::vector<UnitProperty>& properties);
  /// Nothing happens if there is no such unit. Throws ChildError.
  void Stop(const std::string& unit);
  /// Moves a process into the cgroup of the unit. Throws ChildError.
  void Attach(const std::string& unit, pid_t pid);

 private:
  std::optional<DbusConnection> Reach(const std::string& socket, bool is_bus);
  DbusMessage Call(const char* member, const char* signature, const DbusWriter& arguments);
  void AwaitJob(const DbusMessage& started, const std::string& unit);

  std::optional<DbusConnection> connection_;
  std::string unreached_;  // why the sockets so far did not do
};

}  // namespace gantry
