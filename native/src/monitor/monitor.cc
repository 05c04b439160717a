#include "monitor/monitor.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "monitor/json_text.h"
#include "monitor/memory.h"
#include "runtime/field.h"
#include "runtime/json.h"
#include "runtime/report.h"
#include "runtime/state.h"

namespace gantry {
namespace {

constexpr std::size_t kMostClients = 64;
constexpr std::int64_t kLastWordsMs = 2000;
constexpr std::int64_t kIdleMs = 500;

std::string ErrorReply(std::int64_t id, const std::string& message, const StartFailure* failure = nullptr) {
  std::string reply = "{\"id\":" + std::to_string(id) + ",\"error\":{\"message\":\"";
  AppendJsonText(reply, message);
  reply += '"';
  if (failure != nullptr) {
    reply += ",\"step\":\"";
    AppendJsonText(reply, failure->step);
    reply += "\",\"errno\":" + std::to_string(failure->error) + ",\"exitCode\":" + std::to_string(failure->ExitCode());
  }
  return reply + "}}";
}

std::string StatusReply(std::int64_t id, const std::string& status) {
  return "{\"id\":" + std::to_string(id) + ",\"status\":" + status + "}";
}

/// Whoever may signal us may talk to us. The starter's pair of sockets is his and ours anyhow.
bool IsOwner(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == ::geteuid());
}

}  // namespace

Monitor::Monitor(int folder, std::string path, MonitorPlan plan, UniqueFd starter, UniqueFd listener, UniqueFd signals)
    : supervisor_(folder, std::move(path), std::move(plan), *this),
      listener_(std::move(listener)),
      signals_(std::move(signals)) {
  connections_.emplace_back(std::move(starter));
  starter_ = &connections_.front().client;
}

bool Monitor::Run() {
  bool busy = true;
  std::int64_t busy_since_ms = MonotonicMs();
  while (!supervisor_.has_ended() && (started_ || starter_ != nullptr)) {
    const bool held =
        std::ranges::any_of(connections_, [](const Connection& each) { return each.client.HoldsOutput(); });
    PollSet polls;
    polls.Watch(signals_.get(), POLLIN, [this](short) { TakeSignal(); });
    if (connections_.size() < kMostClients) polls.Watch(listener_.get(), POLLIN, [this](short) { Accept(); });
    for (Connection& each : connections_) {
      if (each.ended) continue;
      polls.Watch(each.client.fd(), each.client.Interest(), [this, &each](short events) {
        const bool sent = (events & POLLOUT) == 0 || each.client.Send();
        const bool received = (events & ~POLLOUT) == 0 || each.client.Receive();
        if (!sent || !received) End(each);
      });
    }
    supervisor_.Watch(polls, !held);
    if (busy) polls.Until(busy_since_ms + kIdleMs);
    if (polls.Turn()) {
      busy = true;
      busy_since_ms = MonotonicMs();
    } else if (busy && MonotonicMs() >= busy_since_ms + kIdleMs) {
      ReleaseMemory();  // most of what a start, a request or a burst of output took
      busy = false;
    }
    HearAll();
    DropGone();
    supervisor_.Tick();
  }
  return started_;
}

void Monitor::SayTheRest() {
  listener_ = UniqueFd();
  for (Connection& each : connections_) each.client.TellMissed();
  const std::int64_t deadline = MonotonicMs() + kLastWordsMs;
  while (!connections_.empty()) {
    const bool late = MonotonicMs() >= deadline;
    for (Connection& each : connections_) {
      each.gone = each.gone || each.ended || (late && each.client.output != Client::Output::kWait);
    }
    DropGone();
    PollSet polls;
    if (!late) polls.Until(deadline);
    for (Connection& each : connections_) {
      if (!each.client.HasPending()) each.client.Conclude();
      const short events = each.client.HasPending() ? POLLOUT : 0;
      // What it still sends is for nobody, but to refuse it would break the connection before it has read.
      polls.Watch(each.client.fd(), static_cast<short>(POLLIN | events), [&each](short happened) {
        const bool sent = (happened & POLLOUT) == 0 || each.client.Send();
        const bool here = (happened & ~POLLOUT) == 0 || each.client.Discard();
        each.gone = !sent || !here;
      });
    }
    if (!connections_.empty()) polls.Turn();
  }
}

void Monitor::Wrote(LogFile::Stream stream, std::string_view bytes) {
  const auto type = stream == LogFile::Stream::kOutput ? Frame::kOutput : Frame::kErrors;
  for (Connection& each : connections_) each.client.Pass(type, bytes);
}

void Monitor::StatusChanged(const std::string& document) {
  for (Connection& each : connections_) {
    if (each.client.subscribed) each.client.Say(Frame::kStatus, document);
    if (!supervisor_.has_ended()) continue;
    for (const std::int64_t id : each.client.awaits_end) each.client.Say(Frame::kReply, StatusReply(id, document));
    each.client.awaits_end.clear();
  }
}

void Monitor::Accept() {
  UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (socket.get() < 0 || !IsOwner(socket.get())) return;
  connections_.emplace_back(std::move(socket));
}

void Monitor::TakeSignal() {
  signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
  if (info.ssi_signo == SIGHUP) return;  // a terminal that closes is not ours
  if (!started_) {
    starter_ = nullptr;
    return;
  }
  supervisor_.Stop(supervisor_.plan().stop_signal, supervisor_.plan().stop_timeout_ms, false);
}

/// It can wait for nothing any more.
void Monitor::End(Connection& connection) {
  connection.ended = true;
  connection.client.output = Client::Output::kNone;
  connection.client.subscribed = false;
}

void Monitor::HearAll() {
  for (Connection& each : connections_) {
    try {
      bool later = false;
      while (!later) {
        auto frame = each.client.Next();
        if (!frame) break;
        later = !Hear(each.client, *frame);
        if (later) each.client.PutBack(std::move(*frame));
      }
      each.gone = each.ended && !later;
    } catch (const ProtocolError&) {
      each.gone = true;
    }
  }
}

bool Monitor::Hear(Client& client, const Frame& frame) {
  switch (frame.type) {
    case Frame::kRequest:
      Answer(client, frame.payload);
      return true;
    case Frame::kInput:
      return !client.has_input || supervisor_.WriteInput(frame.payload);
    case Frame::kInputEnd:
      if (client.has_input && supervisor_.plan().input == InputMode::kOnce) supervisor_.EndInput();
      client.has_input = false;
      return true;
    default:
      throw ProtocolError();
  }
}

void Monitor::Answer(Client& client, std::string_view request) {
  std::int64_t id = 0;
  try {
    const Json json = ParseJson(request);
    const Field field(&json, "request");
    id = field["id"].Integer(1, INT64_MAX);
    const std::string word = field["do"].String();
    const auto says = [&](const char* name) { return word == name; };
    if (!started_ && !says("start") && !says("attach") && !says("subscribe") && !says("status")) {
      throw StateError("the container is not started yet");
    }
    if (says("start")) {
      if (started_ || &client != starter_) throw StateError("the container is started already");
      started_ = true;
      supervisor_.Start();
    } else if (says("subscribe")) {
      client.subscribed = true;
    } else if (says("attach")) {
      client.has_input = field["input"].BoolOr(false) && supervisor_.plan().input != InputMode::kNone;
      const std::string slow = field["whenSlow"].String();
      if (slow != "skip" && slow != "wait") field["whenSlow"].Refuse("must be skip or wait");
      client.output = slow == "skip" ? Client::Output::kSkip : Client::Output::kWait;
    } else if (says("detach")) {
      client.output = Client::Output::kNone;
      client.has_input = false;
    } else if (says("resize")) {
      supervisor_.Resize(static_cast<unsigned short>(field["rows"].Integer(0, UINT16_MAX)),
                         static_cast<unsigned short>(field["columns"].Integer(0, UINT16_MAX)));
    } else if (says("signal")) {
      supervisor_.Signal(static_cast<int>(field["signal"].Integer(1, NSIG - 1)), field["noRestart"].BoolOr(false));
    } else if (says("stop")) {
      const MonitorPlan& plan = supervisor_.plan();
      const Field signal = field["signal"];
      const Field timeout = field["timeoutMs"];
      const int number = signal.Present() ? static_cast<int>(signal.Integer(1, NSIG - 1)) : plan.stop_signal;
      const std::int64_t wait = timeout.Present() ? timeout.Integer(-1, INT32_MAX) : plan.stop_timeout_ms;
      if (!supervisor_.has_ended()) {
        client.awaits_end.push_back(id);
        supervisor_.Stop(number, wait, true);
        return;  // StatusChanged answers
      }
    } else if (says("pause")) {
      supervisor_.Pause();
    } else if (says("resume")) {
      supervisor_.Resume();
    } else if (says("restartPolicy")) {
      supervisor_.ChangeRestarts(ParseRestart(field["restart"]));
    } else if (!says("status")) {
      throw StateError("unknown request " + QuoteJson(word));
    }
    client.Say(Frame::kReply, StatusReply(id, supervisor_.StatusDocument()));
  } catch (const std::exception& error) {
    if (id == 0) throw ProtocolError();  // there is nothing to answer to
    const StartFailure failure(error);
    client.Say(Frame::kReply, ErrorReply(id, failure.message, &failure));
  }
}

void Monitor::DropGone() {
  for (auto each = connections_.begin(); each != connections_.end();) {
    if (!each->gone) {
      ++each;
      continue;
    }
    if (each->client.has_input && supervisor_.plan().input == InputMode::kOnce) supervisor_.EndInput();
    if (&each->client == starter_) starter_ = nullptr;
    each = connections_.erase(each);
  }
}

}  // namespace gantry
