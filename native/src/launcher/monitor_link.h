// A monitor that we have started, at the other end of a socket (monitor/frame.h).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "core/sys.h"
#include "monitor/frame.h"

namespace gantry {

class MonitorLink {
 public:
  /// For the container in that folder, which has its plan; the rest has to be there before it is told to start.
  /// Throws SysError.
  MonitorLink(const std::string& runtime, const std::string& folder);
  MonitorLink(const MonitorLink&) = delete;
  MonitorLink& operator=(const MonitorLink&) = delete;
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

  /// It goes, and has gone: for one that has not started its container, or could not.
  void Dismiss();

 private:
  pid_t starter_;  // the process that leaves us the monitor as an orphan
  UniqueFd socket_;
  std::string incoming_;
  std::size_t taken_ = 0;  // of it
  std::string outgoing_;
};

}  // namespace gantry
