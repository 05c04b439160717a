// A monitor's process: one container, those who are connected, signals, and the order of their end.
#pragma once

#include <list>
#include <string>
#include <string_view>

#include "core/sys.h"
#include "monitor/client.h"
#include "monitor/monitor_plan.h"
#include "monitor/poll_set.h"
#include "monitor/supervisor.h"

namespace gantry {

class Monitor : private Supervisor::Listener {
 public:
  /// `folder` is the container's folder and `path` its name; `starter` is connected to who has started us, `listener`
  /// is where others come, `signals` a signalfd.
  Monitor(int folder, std::string path, MonitorPlan plan, UniqueFd starter, UniqueFd listener, UniqueFd signals);

  /// Until the container has ended for good. False: the starter has gone, and it was never started.
  bool Run();
  /// Tells those who are connected what they have not taken yet: those for whom the container would wait, for as long
  /// as they are there, the others for a moment.
  void SayTheRest();

 private:
  struct Connection {
    explicit Connection(UniqueFd socket) : client(std::move(socket)) {}
    Client client;
    bool ended = false;  // nothing more comes from it or goes to it; what it sent before still counts
    bool gone = false;
  };

  void Wrote(LogFile::Stream stream, std::string_view bytes) override;
  void StatusChanged(const std::string& document) override;

  void Accept();
  void TakeSignal();
  void End(Connection& connection);
  void DropGone();
  void HearAll();
  /// False: not now, but later.
  bool Hear(Client& client, const Frame& frame);
  void Answer(Client& client, std::string_view request);

  Supervisor supervisor_;
  UniqueFd listener_;
  UniqueFd signals_;
  std::list<Connection> connections_;  // the first is the starter, until it goes
  const Client* starter_;
  bool started_ = false;
};

}  // namespace gantry
