// A conversation over D-Bus, with a bus or with a service itself.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <stdexcept>
#include <string>

#include "core/sys.h"
#include "dbus/message.h"

namespace gantry {

/// The other side said no.
struct DbusError : std::runtime_error {
  DbusError(std::string error_name, const std::string& message)
      : std::runtime_error(message), name(std::move(error_name)) {}
  std::string name;  // "org.freedesktop.systemd1.NoSuchUnit"
};

class DbusConnection {
 public:
  /// Connects to the socket of that path and says who we are: `uid` as the other side sees it (SASL EXTERNAL). Throws
  /// SysError.
  DbusConnection(const std::string& socket_path, std::uint32_t uid);

  /// Sends a call (its serial is ours to choose) and waits for its answer. Signals that come meanwhile are kept. Throws
  /// DbusError, DbusFormatError, SysError (ETIMEDOUT after 30 s).
  DbusMessage Call(DbusMessage call);
  /// The next signal, kept or new, that is wanted; others are dropped. Throws as Call does.
  DbusMessage AwaitSignal(const std::function<bool(const DbusMessage&)>& wanted);

 private:
  void Authenticate(std::uint32_t uid);
  void SetDeadline();
  void AwaitReady(short events) const;
  void Write(std::string_view bytes) const;
  void ReadMore();
  DbusMessage Read();

  UniqueFd socket_;
  std::string received_;
  std::deque<DbusMessage> signals_;
  std::uint32_t serial_ = 0;
  std::int64_t deadline_ms_ = 0;
};

}  // namespace gantry
