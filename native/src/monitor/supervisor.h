// The life of one container under its monitor: started, logged, checked, stopped, started again, ended for good. It
// knows nothing of who is connected: who wants to hear of it listens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "monitor/container_stdio.h"
#include "monitor/health.h"
#include "monitor/log_file.h"
#include "monitor/monitor_plan.h"
#include "monitor/poll_set.h"
#include "monitor/probe.h"
#include "monitor/restart.h"
#include "monitor/status.h"
#include "monitor/thaw_at_death.h"
#include "runtime/child_process.h"
#include "runtime/oom_watch.h"

namespace gantry {

/// Why a container could not be started, in words and in what docker's exit codes are made of.
struct StartFailure {
  explicit StartFailure(const std::exception& error);
  std::string message;
  std::string step;
  int error = 0;  // errno
  /// Of a container that never ran: 127: there is no such program; 126: it cannot be executed; 128: something else.
  int ExitCode() const;
};

class Supervisor {
 public:
  /// Told of what happens, while it does.
  struct Listener {
    virtual ~Listener() = default;
    virtual void Wrote(LogFile::Stream stream, std::string_view bytes) = 0;
    virtual void StatusChanged(const std::string& document) = 0;
  };

  /// `folder` is a descriptor of the container's folder, which is lent, and `bundle` its path.
  Supervisor(int folder, std::string bundle, MonitorPlan plan, Listener& listener);

  /// Returns when its program runs. Throws what a Container throws; then it has ended for good.
  void Start();
  bool has_ended() const { return status_.phase == ContainerStatus::Phase::kExited; }
  std::string StatusDocument() const;

  /// Ends it for good: by that signal, and after that time (-1: never) by SIGKILL.
  void Stop(int signal, std::int64_t timeout_ms, bool by_user);
  /// Throws StateError if it does not run. `no_restart`: when it ends, it has ended for good.
  void Signal(int signal, bool no_restart);
  /// Throws StateError, SysError.
  void Pause();
  void Resume();
  void Resize(unsigned short rows, unsigned short columns);
  void ChangeRestarts(RestartPlan plan) { restarts_.Change(plan); }

  /// False: it has not taken yet what came before. Nobody to read it: it is gone.
  bool WriteInput(std::string_view bytes);
  void EndInput();
  const MonitorPlan& plan() const { return plan_; }

  /// `reads`: whether output may be taken from the container now.
  void Watch(PollSet& polls, bool reads);
  /// Does what is due.
  void Tick();

 private:
  using Phase = ContainerStatus::Phase;
  bool IsAlive() const { return status_.phase == Phase::kRunning || status_.phase == Phase::kPaused; }
  void Launch();
  void TakeOutput(LogFile::Stream stream);
  void DrainOutput();
  void Ended();
  void AfterEnd(int exit_code, std::int64_t ran_ms);
  void RemoveContainer();
  void Thaw();
  void Publish(bool durable = false);
  void BeginProbe();
  void EndProbe(int exit_code, std::string output);
  std::int64_t RunningMs() const { return MonotonicMs() - started_ms_; }

  int folder_;
  std::string bundle_;
  MonitorPlan plan_;
  Listener& listener_;
  ContainerStatus status_;
  LogFile log_;
  Restarts restarts_;
  std::optional<Health> health_;

  ChildProcess process_;
  std::optional<ContainerStdio> stdio_;
  std::unique_ptr<OomWatch> oom_;
  std::vector<std::string> cgroups_;
  std::optional<ThawAtDeath> thaw_at_death_;  // while it is frozen
  std::int64_t started_ms_ = 0;
  bool stays_ended_ = false;  // whatever the restart policy says
  std::optional<std::int64_t> kill_at_ms_;
  std::optional<std::int64_t> restart_at_ms_;
  std::optional<std::int64_t> probe_at_ms_;

  struct RunningProbe {
    std::unique_ptr<Probe> probe;
    std::string start;
    std::int64_t began_ms;  // after the container's start
    std::int64_t deadline_ms;
  };
  std::optional<RunningProbe> probe_;
};

}  // namespace gantry
