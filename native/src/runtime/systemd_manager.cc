#include "runtime/systemd_manager.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "core/own_ids.h"
#include "runtime/child_process.h"
#include "runtime/report.h"

namespace gantry {
namespace {

constexpr const char* kService = "org.freedesktop.systemd1";
constexpr const char* kPath = "/org/freedesktop/systemd1";
constexpr const char* kInterface = "org.freedesktop.systemd1.Manager";
constexpr const char* kNoSuchUnit = "org.freedesktop.systemd1.NoSuchUnit";
constexpr const char* kUnitExists = "org.freedesktop.systemd1.UnitExists";

constexpr const char* kUseCgroupfs =
    "; without systemd use the cgroupfs driver (docker: --exec-opt native.cgroupdriver=cgroupfs; podman: "
    "cgroup_manager=\"cgroupfs\"; containerd: SystemdCgroup = false)";

[[noreturn]] void Fail(int error, const std::string& message) { throw ChildError("ask systemd", error, message); }

/// The socket that a variable names ("unix:path=/run/user/7/bus,guid=…"), or that one.
std::string BusSocket(const char* variable, std::string otherwise) {
  constexpr std::string_view kScheme = "unix:path=";
  const char* value = ::getenv(variable);
  std::string_view address = value == nullptr ? "" : value;
  if (!address.starts_with(kScheme)) return otherwise;
  address.remove_prefix(kScheme.size());
  return std::string(address.substr(0, address.find_first_of(",;")));
}

void Append(DbusWriter& arguments, const std::vector<UnitProperty>& properties) {
  arguments.Array(8, [&] {
    for (const UnitProperty& property : properties) {
      arguments.Align(8);
      arguments.String(property.name);
      arguments.Variant(property.value);
    }
  });
}

}  // namespace

SystemdManager::SystemdManager(bool of_user) {
  std::string directory = "/run";
  std::string bus = BusSocket("DBUS_SYSTEM_BUS_ADDRESS", "/run/dbus/system_bus_socket");
  if (of_user) {
    const char* own = ::getenv("XDG_RUNTIME_DIR");
    const std::string usual = "/run/user/" + std::to_string(OwnIds::Get().OutsideUser(::geteuid()));
    directory = own != nullptr && own[0] == '/' ? own : usual;  // it is set for who has logged in
    bus = BusSocket("DBUS_SESSION_BUS_ADDRESS", directory + "/bus");
  }
  connection_ = Reach(directory + "/systemd/private", false);
  if (!connection_) connection_ = Reach(bus, true);
  if (!connection_) {
    Fail(ECONNREFUSED, std::string("cannot reach ") + (of_user ? "your" : "the machine's") + " systemd (" + unreached_ +
                           ")" + kUseCgroupfs);
  }
}

std::optional<DbusConnection> SystemdManager::Reach(const std::string& socket, bool is_bus) {
  try {
    DbusConnection connection(socket, OwnIds::Get().OutsideUser(::geteuid()));
    if (!is_bus) return connection;
    DbusMessage call{.path = "/org/freedesktop/DBus",
                     .interface = "org.freedesktop.DBus",
                     .member = "Hello",
                     .destination = "org.freedesktop.DBus"};
    connection.Call(call);
    // Over a bus one is told of what one has asked to be told of: by the bus, and by systemd.
    DbusWriter rule;
    rule.String("type='signal',sender='" + std::string(kService) + "',interface='" + kInterface +
                "',member='JobRemoved',path='" + kPath + "'");
    call.member = "AddMatch";
    call.signature = "s";
    call.body = rule.bytes();
    connection.Call(call);
    connection.Call({.path = kPath, .interface = kInterface, .member = "Subscribe", .destination = kService});
    return connection;
  } catch (const std::exception& error) {
    unreached_ += (unreached_.empty() ? "" : "; ") + socket + ": " + Explain(error);
    return std::nullopt;
  }
}

/// Throws DbusError alone as it is, for who makes something of what systemd says.
DbusMessage SystemdManager::Call(const char* member, const char* signature, const DbusWriter& arguments) {
  try {
    return connection_->Call({.path = kPath,
                              .interface = kInterface,
                              .member = member,
                              .destination = kService,
                              .signature = signature,
                              .body = arguments.bytes()});
  } catch (const DbusError&) {
    throw;
  } catch (const SysError& error) {
    Fail(error.code().value(), "systemd does not answer to " + std::string(member) + ": " + Explain(error));
  } catch (const DbusFormatError& error) {
    Fail(EPROTO, "systemd answers to " + std::string(member) + " with " + error.what());
  }
}

void SystemdManager::AwaitJob(const DbusMessage& started, const std::string& unit) {
  std::string result;
  try {
    const std::string job = DbusReader(started.body).String();
    connection_->AwaitSignal([&](const DbusMessage& signal) {
      if (signal.member != "JobRemoved" || signal.signature != "uoss") return false;
      DbusReader body(signal.body);
      body.Uint32();
      if (body.String() != job) return false;
      body.String();  // the unit
      result = body.String();
      return true;
    });
  } catch (const SysError& error) {
    Fail(error.code().value(), "systemd does not finish with " + unit + ": " + Explain(error));
  } catch (const DbusFormatError& error) {
    Fail(EPROTO, "systemd tells of " + unit + " with " + error.what());
  }
  if (result != "done") Fail(EIO, "systemd could not finish with " + unit + ": the job ended as " + result);
}

void SystemdManager::Start(const std::string& unit, const std::vector<UnitProperty>& properties) {
  DbusWriter arguments;
  arguments.String(unit);
  arguments.String("fail");
  Append(arguments, properties);
  arguments.Array(8, [] {});  // auxiliary units
  const auto start = [&] { return Call("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments); };
  try {
    try {
      AwaitJob(start(), unit);
    } catch (const DbusError& error) {
      if (error.name != kUnitExists) throw;
      DbusWriter name;
      name.String(unit);
      Call("ResetFailedUnit", "s", name);
      AwaitJob(start(), unit);
    }
  } catch (const DbusError& error) {
    Fail(error.name == kUnitExists ? EEXIST : EINVAL, "systemd does not start " + unit + ": " + error.what());
  }
}

void SystemdManager::SetProperties(const std::string& unit, const std::vector<UnitProperty>& properties) {
  if (properties.empty()) return;
  DbusWriter arguments;
  arguments.String(unit);
  arguments.Value(true);
  Append(arguments, properties);
  try {
    Call("SetUnitProperties", "sba(sv)", arguments);
  } catch (const DbusError& error) {
    Fail(EINVAL, "systemd does not change " + unit + ": " + error.what());
  }
}

void SystemdManager::Stop(const std::string& unit) {
  DbusWriter arguments;
  arguments.String(unit);
  arguments.String("replace");
  try {
    AwaitJob(Call("StopUnit", "ss", arguments), unit);
  } catch (const DbusError& error) {
    if (error.name == kNoSuchUnit) return;  // it goes with its last process
    Fail(EIO, "systemd does not stop " + unit + ": " + error.what());
  }
}

void SystemdManager::Attach(const std::string& unit, pid_t pid) {
  DbusWriter arguments;
  arguments.String(unit);
  arguments.String("");
  arguments.Value(std::vector<std::uint32_t>{static_cast<std::uint32_t>(pid)});
  try {
    Call("AttachProcessesToUnit", "ssau", arguments);
  } catch (const DbusError& error) {
    Fail(EPERM, "systemd does not take the process into " + unit + ": " + error.what());
  }
}

}  // namespace gantry
