#include "runtime/serve.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <map>
#include <memory>

#include "runtime/delegate.h"
#include "runtime/delete.h"
#include "runtime/job.h"
#include "runtime/protocol.h"
#include "runtime/report.h"
#include "runtime/state.h"

namespace gantry {
namespace {

class Server {
 public:
  Server(int socket, std::string state_root, bool single)
      : socket_(socket), state_root_(std::move(state_root)), single_(single) {
    checked("protect the socket", [&] { return ::fcntl(socket_.get(), F_SETFD, FD_CLOEXEC); });
    poll_ = UniqueFd(checked("make an epoll", [] { return ::epoll_create1(EPOLL_CLOEXEC); }));
    Watch(socket_.get(), Key::kOwner, 0);
  }

  /// Until the owner is gone, and what goes on without him has ended.
  void Serve() {
    while (socket_.get() >= 0 || !jobs_.empty() || !delegates_.empty()) {
      epoll_event events[64];
      const int count = checked("wait for events", [&] { return ::epoll_wait(poll_.get(), events, 64, -1); });
      for (int i = 0; i < count; ++i) {
        const auto number = static_cast<std::uint32_t>(events[i].data.u64);
        switch (static_cast<Key>(events[i].data.u64 >> 32)) {
          case Key::kOwner:
            HearOwner();
            break;
          case Key::kStatus:
            Outcome(number);
            break;
          case Key::kEnd:
            Ended(number);
            break;
          case Key::kDelegate:
            HearDelegate(number);
            break;
          case Key::kHeld:
            Drain(static_cast<int>(number));
            break;
        }
      }
    }
  }

 private:
  /// What a descriptor tells of; of the ticket that comes with it, or for kHeld of the descriptor itself.
  enum class Key : std::uint32_t { kOwner, kStatus, kEnd, kDelegate, kHeld };

  void Watch(int fd, Key key, std::uint32_t number) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = std::uint64_t{static_cast<std::uint32_t>(key)} << 32 | number;
    checked("watch a descriptor", [&] { return ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &event); });
  }

  void Unwatch(int fd) { ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

  void HearOwner() {
    if (socket_.get() < 0) return;
    auto message = ReceiveMessage(socket_.get());
    if (message) return Obey(*message);
    std::erase_if(jobs_, [](const auto& each) { return !each.second->is_detached; });
    std::erase_if(delegates_, [](const auto& each) { return !each.second->is_detached; });
    socket_ = UniqueFd();  // which tells the owner, if he is still there, that all of that is gone
  }

  void Obey(Message& message) {
    const auto delegate = delegates_.find(message.ticket);
    if (delegate != delegates_.end()) {
      Delegate& other = *delegate->second;
      if (message.type == Message::kDetach) other.is_detached = true;
      const bool kills = message.type == Message::kKill && message.first == SIGKILL;
      return kills && !other.has_begun ? other.Kill() : other.Pass(message);
    }
    const auto found = jobs_.find(message.ticket);
    const bool known = found != jobs_.end();
    switch (message.type) {
      case Message::kKill:
        if (known) found->second->process().Signal(message.first);
        return;
      case Message::kStart:
        if (known) Start(message.ticket, *found->second);
        return;
      case Message::kDetach:
        if (known) Detach(message, *found->second);
        return;
      case Message::kRun:
      case Message::kCreate:
      case Message::kExec:
        if (known) throw SysError(EPROTO, "understand a message");
        return Attempt(message.ticket, [&] { Begin(message); });
      default:
        throw SysError(EPROTO, "understand a message");
    }
  }

  /// What goes wrong is told to the owner; nothing of the ticket is left then.
  template <typename Action>
  void Attempt(std::uint32_t ticket, const Action& action) {
    Message news;
    news.type = Message::kFailed;
    news.ticket = ticket;
    try {
      return action();
    } catch (const ChildError& error) {
      news.first = error.error;
      news.text = error.step;
      news.more = error.what();
    } catch (const SysError& error) {
      news.first = error.code().value();
      news.text = error.step;
      news.more = Explain(error);
    } catch (const StateError& error) {
      news.first = EEXIST;
      news.text = "claim the container's id";
      news.more = error.what();
    } catch (const std::exception& error) {
      news.first = EINVAL;
      news.text = "read the configuration";
      news.more = error.what();
    }
    jobs_.erase(ticket);  // first the cleaning, then the news
    Send(news);
  }

  void Begin(Message& message) {
    std::unique_ptr<Job> job;
    if (message.type == Message::kExec) {
      job = ExecJob(state_root_, message, JobAttachment(message));
    } else {
      Attachment wanted;
      wanted.die_with_parent = true;
      auto plan = PreparePlan(message.text, message.more, wanted);
      const bool takes_time = plan->config.hooks.Any() || plan->scope;  // systemd's, or of the hooks
      if (takes_time && !single_) return HandOver(message);
      JobAttachment attachment(message);
      plan->process.attachment = attachment.attachment();
      job = RunJob(state_root_, std::move(plan), std::move(attachment));
    }
    Watch(job->process().status(), Key::kStatus, message.ticket);
    jobs_.emplace(message.ticket, std::move(job));
  }

  void HandOver(const Message& message) {
    auto delegate = std::make_unique<Delegate>(state_root_);
    Watch(delegate->socket(), Key::kDelegate, message.ticket);
    delegate->Pass(message);
    delegated_ids_[message.ticket] = message.text;
    delegates_.emplace(message.ticket, std::move(delegate));
  }

  void HearDelegate(std::uint32_t ticket) {
    const auto found = delegates_.find(ticket);
    if (found == delegates_.end()) return;
    auto message = ReceiveMessage(found->second->socket());
    if (!message) {
      Attempt(ticket, [&] {
        LoseDelegate(ticket);
        throw SysError(EPIPE, "run the container: its helper was killed");
      });
      return;
    }
    found->second->has_begun = true;
    const bool last = message->type == Message::kExited || message->type == Message::kFailed;
    if (last) Forget(ticket);
    std::vector<int> descriptors;
    for (const UniqueFd& each : message->descriptors) descriptors.push_back(each.get());
    Send(*message, descriptors);
  }

  void Forget(std::uint32_t ticket) {
    delegates_.erase(ticket);
    delegated_ids_.erase(ticket);
  }

  /// It was killed, and its container with it; the rest of that may still be there.
  void LoseDelegate(std::uint32_t ticket) {
    const std::string id = delegated_ids_[ticket];
    Forget(ticket);
    try {
      const StateDirectory directory = StateDirectory::Open(state_root_, id);
      directory.Lock();
      DeleteContainer(directory, directory.Read());
    } catch (const StateError&) {
      // Nothing of it is left.
    }
  }

  /// The program runs, or waits for its start, or failed to.
  void Outcome(std::uint32_t ticket) {
    const auto found = jobs_.find(ticket);
    if (found == jobs_.end()) return;
    Job& job = *found->second;
    Unwatch(job.process().status());
    Attempt(ticket, [&] {
      job.AwaitOutcome();
      Watch(job.process().pidfd(), Key::kEnd, ticket);
      Tell(job.waits_for_start() ? Message::kCreated : Message::kStarted, ticket, job);
    });
  }

  void Start(std::uint32_t ticket, Job& job) {
    Attempt(ticket, [&] {
      if (!job.waits_for_start()) throw StateError("cannot start an already running container");
      job.Start();
      Tell(Message::kStarted, ticket, job);
    });
  }

  void Tell(Message::Type type, std::uint32_t ticket, Job& job) {
    Message message;
    message.type = type;
    message.ticket = ticket;
    message.first = job.process().pid();
    const std::vector<UniqueFd> ends = job.TakeEnds();  // the owner's alone from now on
    std::vector<int> descriptors;
    for (const UniqueFd& each : ends) descriptors.push_back(each.get());
    Send(message, descriptors);
  }

  void Ended(std::uint32_t ticket) {
    const auto found = jobs_.find(ticket);
    if (found == jobs_.end()) return;
    Job& job = *found->second;
    Unwatch(job.process().pidfd());
    const Ending ending = job.process().Wait();
    try {
      job.Remove();
    } catch (const SysError&) {
      // A cgroup that cannot be removed now does not change how the program ended.
    }
    jobs_.erase(found);
    Message message;
    message.type = Message::kExited;
    message.ticket = ticket;
    message.first = ending.signaled ? 1 : 0;
    message.second = ending.value;
    Send(message);
  }

  void Detach(Message& message, Job& job) {
    job.is_detached = true;
    job.held = std::move(message.descriptors);
    for (const UniqueFd& each : job.held) {
      if (::fcntl(each.get(), F_SETFL, O_NONBLOCK) == 0)
        Watch(each.get(), Key::kHeld, static_cast<unsigned>(each.get()));
    }
  }

  void Drain(int fd) {
    char buffer[4096];
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) Unwatch(fd);
  }

  /// An owner that is gone is noticed by the next read.
  void Send(const Message& message, const std::vector<int>& descriptors = {}) {
    if (socket_.get() >= 0) SendMessage(socket_.get(), message, descriptors);
  }

  UniqueFd socket_;
  std::string state_root_;
  bool single_;
  UniqueFd poll_;
  std::map<std::uint32_t, std::unique_ptr<Job>> jobs_;  // their destructors kill and clean up
  std::map<std::uint32_t, std::unique_ptr<Delegate>> delegates_;
  std::map<std::uint32_t, std::string> delegated_ids_;
};

}  // namespace

int Serve(int socket, const std::string& state_root, bool single) {
  Server server(socket, state_root, single);
  server.Serve();
  return 0;
}

}  // namespace gantry
