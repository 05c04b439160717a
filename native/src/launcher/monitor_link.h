// A monitor at the other end of a socket (monitor/frame.h).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>

#include "core/sys.h"
#include "monitor/frame.h"
#include "runtime/json.h"

namespace gantry {

class MonitorLink {
 public:
  /// Of the container in that folder, if it has one. Throws SysError.
  static std::optional<MonitorLink> Connect(const std::string& folder);
  /// For the container in that folder, which has its plan; the rest has to be there before it is told to start.
  /// Throws SysError.
  MonitorLink(const std::string& runtime, const std::string& folder);
  MonitorLink(MonitorLink&& other) noexcept;
  MonitorLink& operator=(MonitorLink&&) = delete;
  ~MonitorLink();

  int fd() const { return socket_.get(); }
  void Say(Frame::Type type, std::string_view payload) { AppendFrame(outgoing_, type, payload); }
  bool HasPending() const { return !outgoing_.empty(); }
  /// As much as the socket takes. What it does not take any more is dropped: the end is seen by reading.
  void Send();
  /// What has arrived; false at the end. Waits for the first byte if none is there.
  bool Receive();
  /// The next whole frame that has arrived. Throws ProtocolError.
  std::optional<Frame> Next();

  /// What it says to that request; what it says before is for nobody. Nothing if it has gone, or is no
  /// monitor.
  std::optional<Json> AwaitReply(int request);

  /// It goes, and has gone: for one that has not started its container, or could not.
  void Dismiss();

 private:
  explicit MonitorLink(UniqueFd socket) : socket_(std::move(socket)) {}

  pid_t starter_ = -1;  // the process that leaves us the monitor as an orphan
  UniqueFd socket_;
  std::string incoming_;
  std::size_t taken_ = 0;  // of it
  std::string outgoing_;
};

/// The answer to a stop, which is request 1: false if it goes on. Fine if it did not run any more.
bool HasStopped(MonitorLink& monitor);

}  // namespace gantry
