#include "monitor/supervisor.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "runtime/cgroup_freezer.h"
#include "runtime/container.h"
#include "runtime/delete.h"
#include "runtime/report.h"
#include "runtime/state.h"

namespace gantry {
namespace {

constexpr int kSignalBase = 128;

}  // namespace

StartFailure::StartFailure(const std::exception& failure) : message(Explain(failure)) {
  if (const auto* child = dynamic_cast<const ChildError*>(&failure)) {
    step = child->step;
    error = child->error;
  } else if (const auto* system = dynamic_cast<const SysError*>(&failure)) {
    step = system->step;
    error = system->code().value();
  } else if (dynamic_cast<const StateError*>(&failure) != nullptr) {
    step = "claim the container's id";
    error = EEXIST;
  } else {
    step = "read the configuration";
    error = EINVAL;
  }
}

int StartFailure::ExitCode() const {
  if (step != StepName(Step::kExec)) return kSignalBase;
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return 127;
    case EACCES:
    case EISDIR:
    case ENOEXEC:
    case EPERM:
      return 126;
    default:
      return kSignalBase;
  }
}

Supervisor::Supervisor(int folder, std::string bundle, MonitorPlan plan, Listener& listener)
    : folder_(folder),
      bundle_(std::move(bundle)),
      plan_(std::move(plan)),
      listener_(listener),
      log_(folder, plan_.log),
      restarts_(plan_.restart) {
  if (plan_.health) health_.emplace(*plan_.health);
  KeepSpareStatus(folder_);
  if (plan_.own_network) {
    status_.network_namespace = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(kOwnNetwork);
  }
}

void Supervisor::Start() {
  restart_at_ms_.reset();
  try {
    Launch();
  } catch (const std::exception& error) {
    stdio_.reset();
    oom_.reset();
    const StartFailure failure(error);
    status_.error = failure.message;
    status_.finished_at = Rfc3339Now();
    const bool first = status_.phase == Phase::kCreated;
    stays_ended_ = stays_ended_ || first;  // who starts it is told, and may try again
    AfterEnd(failure.ExitCode(), 0);
    if (first) throw;
    return;
  }
  started_ms_ = MonotonicMs();
  status_.phase = Phase::kRunning;
  status_.pid = process_.pid();
  status_.start_time = ProcessStartTime(status_.pid);
  status_.exit_code = 0;
  status_.oom_killed = false;
  status_.error.clear();
  status_.started_at = Rfc3339Now();
  status_.finished_at.clear();
  if (health_) {
    health_->Begin();
    probe_at_ms_ = started_ms_ + health_->PauseMs(0);
  }
  Publish();
}

void Supervisor::Launch() {
  stdio_.emplace(plan_.terminal, plan_.input);
  Attachment attachment;
  attachment.die_with_parent = true;
  for (int i = 0; i < 3; ++i) attachment.stdio[i] = stdio_->child_end(i);
  Container container(plan_.state_root, PreparePlan(plan_.id, bundle_, attachment));
  if (container.plan().config.process->terminal != plan_.terminal) {
    throw ConfigError("monitor.json: terminal: must be what process.terminal of config.json is");
  }
  cgroups_ = container.plan().cgroup->directories();
  oom_ = std::make_unique<OomWatch>(cgroups_);
  container.AwaitOutcome();
  container.Record();
  stdio_->Started(std::move(container.plan().process.console_master));
  process_ = std::move(container.process());
  container.Keep();
}

void Supervisor::Stop(int signal, std::int64_t timeout_ms, bool by_user) {
  stays_ended_ = true;
  status_.stopped_by_user = status_.stopped_by_user || by_user;
  if (status_.phase == Phase::kRestarting) {
    restart_at_ms_.reset();
    status_.phase = Phase::kExited;
    return Publish(true);
  }
  if (!IsAlive()) return;
  process_.Signal(signal);
  Thaw();
  if (timeout_ms >= 0) {
    const std::int64_t at = MonotonicMs() + timeout_ms;
    kill_at_ms_ = std::min(kill_at_ms_.value_or(at), at);
  }
}

void Supervisor::Signal(int signal, bool no_restart) {
  if (status_.phase == Phase::kRestarting && no_restart) return Stop(signal, -1, true);
  if (!IsAlive()) throw StateError("container not running");
  if (no_restart) {
    stays_ended_ = true;
    status_.stopped_by_user = true;
  }
  process_.Signal(signal);
  if (signal == SIGKILL) Thaw();  // what is frozen does not even die
}

void Supervisor::Pause() {
  if (status_.phase == Phase::kPaused) throw StateError("container is paused already");
  if (status_.phase != Phase::kRunning) throw StateError("container not running");
  probe_.reset();  // it would be frozen too, and is not to blame
  thaw_at_death_.emplace(cgroups_);
  try {
    Freeze(cgroups_, true);
  } catch (...) {
    thaw_at_death_.reset();
    throw;
  }
  status_.phase = Phase::kPaused;
  Publish();
}

void Supervisor::Resume() {
  if (status_.phase != Phase::kPaused) throw StateError("container not paused");
  Freeze(cgroups_, false);
  thaw_at_death_.reset();
  status_.phase = Phase::kRunning;
  if (health_) probe_at_ms_ = MonotonicMs() + health_->PauseMs(RunningMs());
  Publish();
}

/// Also what somebody else has frozen.
void Supervisor::Thaw() {
  try {
    if (status_.phase == Phase::kPaused) {
      Resume();
    } else if (IsFrozen(cgroups_)) {
      Freeze(cgroups_, false);
    }
  } catch (const std::exception& error) {
    status_.error = Explain(error);  // its removal tries again
  }
}

void Supervisor::Resize(unsigned short rows, unsigned short columns) {
  if (stdio_) stdio_->Resize(rows, columns);
}

bool Supervisor::WriteInput(std::string_view bytes) { return !stdio_ || stdio_->WriteInput(bytes); }

void Supervisor::EndInput() {
  if (stdio_) stdio_->EndInput();
}

std::string Supervisor::StatusDocument() const { return PrintStatus(status_, health_ ? &*health_ : nullptr); }

void Supervisor::Publish(bool durable) {
  status_.log_lost_bytes = log_.lost_bytes();
  status_.log_error = log_.error();
  const std::string document = StatusDocument();
  try {
    WriteStatus(folder_, document, durable && plan_.lasting);
  } catch (const SysError&) {
    // A disk that fails must not end the container; those who are connected are told all the same.
  }
  listener_.StatusChanged(document);
}

void Supervisor::Watch(PollSet& polls, bool reads) {
  if (stdio_) {
    if (reads) {
      polls.Watch(stdio_->output(), POLLIN, [this](short) { TakeOutput(LogFile::Stream::kOutput); });
      polls.Watch(stdio_->errors(), POLLIN, [this](short) { TakeOutput(LogFile::Stream::kErrors); });
    }
    polls.Watch(stdio_->pending_input(), POLLOUT, [this](short) {
      if (stdio_) stdio_->FlushInput();
    });
  }
  if (probe_) {
    polls.Watch(probe_->probe->output(), POLLIN, [this](short) {
      if (probe_) probe_->probe->Listen();
    });
    polls.Watch(probe_->probe->pidfd(), POLLIN, [this](short) {
      if (probe_ && probe_->probe->output() >= 0) probe_->probe->Listen();
      if (probe_) EndProbe(probe_->probe->Wait(), probe_->probe->said());
    });
    polls.Until(probe_->deadline_ms);
  }
  if (oom_) {
    polls.Watch(oom_->fd(), POLLIN, [this](short) {
      if (oom_ && oom_->Happened() && !std::exchange(status_.oom_killed, true)) Publish();
    });
  }
  polls.Watch(process_.pidfd(), POLLIN, [this](short) { Ended(); });
  for (const auto& due : {kill_at_ms_, restart_at_ms_, probe_at_ms_}) {
    if (due) polls.Until(*due);
  }
}

void Supervisor::Tick() {
  const std::int64_t now = MonotonicMs();
  if (kill_at_ms_ && now >= *kill_at_ms_) {
    kill_at_ms_.reset();
    process_.Signal(SIGKILL);
    Thaw();
  }
  if (probe_ && now >= probe_->deadline_ms) {
    EndProbe(-1, "Health check exceeded timeout (" + std::to_string(health_->plan().timeout_ms) + " ms)");
  }
  if (probe_at_ms_ && now >= *probe_at_ms_) BeginProbe();
  if (restart_at_ms_ && now >= *restart_at_ms_) Start();
}

void Supervisor::TakeOutput(LogFile::Stream stream) {
  if (!stdio_) return;
  std::string bytes;
  const auto got = stream == LogFile::Stream::kOutput ? stdio_->ReadOutput(bytes) : stdio_->ReadErrors(bytes);
  if (got != ContainerStdio::Got::kBytes) return;
  log_.Write(stream, bytes);
  listener_.Wrote(stream, bytes);
  if (log_.error() != status_.log_error) Publish();
}

/// What it has written before it ended. Whoever else holds the other ends may write on, to nobody.
void Supervisor::DrainOutput() {
  for (const auto stream : {LogFile::Stream::kOutput, LogFile::Stream::kErrors}) {
    std::string bytes;
    while ((stream == LogFile::Stream::kOutput ? stdio_->ReadOutput(bytes) : stdio_->ReadErrors(bytes)) ==
           ContainerStdio::Got::kBytes) {
      log_.Write(stream, bytes);
      listener_.Wrote(stream, bytes);
    }
  }
  log_.End();
}

void Supervisor::Ended() {
  const Ending ending = process_.Wait();
  process_ = ChildProcess();
  probe_.reset();
  if (oom_ && oom_->Happened()) status_.oom_killed = true;
  oom_.reset();
  RemoveContainer();
  thaw_at_death_.reset();
  DrainOutput();
  stdio_.reset();
  kill_at_ms_.reset();
  probe_at_ms_.reset();
  status_.pid = 0;
  status_.start_time = 0;
  status_.finished_at = Rfc3339Now();
  AfterEnd(ending.ShellCode(), RunningMs());
}

void Supervisor::AfterEnd(int exit_code, std::int64_t ran_ms) {
  status_.exit_code = exit_code;
  const auto pause_ms = stays_ended_ ? std::nullopt : restarts_.Next(exit_code, ran_ms);
  status_.restart_count = restarts_.count();
  status_.phase = pause_ms ? Phase::kRestarting : Phase::kExited;
  if (!pause_ms) status_.network_namespace.clear();
  if (pause_ms) restart_at_ms_ = MonotonicMs() + *pause_ms;
  Publish(!pause_ms);
}

/// Kills what is left of it, runs its poststop hooks.
void Supervisor::RemoveContainer() {
  try {
    const StateDirectory directory = StateDirectory::Open(plan_.state_root, plan_.id);
    directory.Lock();
    DeleteContainer(directory, directory.Read());
  } catch (const std::exception& error) {
    status_.error = "what is left of the container cannot be removed: " + Explain(error);
  }
}

void Supervisor::BeginProbe() {
  probe_at_ms_.reset();
  if (status_.phase != Phase::kRunning || probe_) return;  // Resume plans the next
  const std::int64_t now = MonotonicMs();
  try {
    probe_ = RunningProbe{.probe = std::make_unique<Probe>(plan_.state_root, plan_.id, health_->plan().command),
                          .start = Rfc3339Now(),
                          .began_ms = now - started_ms_,
                          .deadline_ms = now + health_->plan().timeout_ms};
  } catch (const SysError& error) {
    health_->Record({Rfc3339Now(), Rfc3339Now(), -1, Explain(error)}, now - started_ms_);
    probe_at_ms_ = now + health_->PauseMs(RunningMs());
    Publish();
  }
}

void Supervisor::EndProbe(int exit_code, std::string output) {
  health_->Record({probe_->start, Rfc3339Now(), exit_code, std::move(output)}, probe_->began_ms);
  probe_.reset();
  probe_at_ms_ = MonotonicMs() + health_->PauseMs(RunningMs());
  Publish();
}

}  // namespace gantry
