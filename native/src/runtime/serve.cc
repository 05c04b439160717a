#include "runtime/serve.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>

#include "runtime/container.h"
#include "runtime/protocol.h"

namespace gantry {
namespace {

class Server {
 public:
  Server(int socket, std::string state_root) : socket_(socket), state_root_(std::move(state_root)) {
    checked("protect the socket", [&] { return ::fcntl(socket_, F_SETFD, FD_CLOEXEC); });
    poll_ = UniqueFd(checked("make an epoll", [] { return ::epoll_create1(EPOLL_CLOEXEC); }));
    Watch(socket_, kSocketKey);
  }

  /// Until the owner is gone.
  void Serve() {
    while (true) {
      epoll_event events[64];
      const int count = checked("wait for events", [&] { return ::epoll_wait(poll_.get(), events, 64, -1); });
      for (int i = 0; i < count; ++i) {
        const std::uint64_t key = events[i].data.u64;
        if (key == kSocketKey) {
          auto message = ReceiveMessage(socket_);
          if (!message) return;
          Obey(*message);
        } else if ((key & kStatusBit) != 0) {
          Started(static_cast<std::uint32_t>(key));
        } else {
          Ended(static_cast<std::uint32_t>(key));
        }
      }
    }
  }

 private:
  static constexpr std::uint64_t kSocketKey = ~std::uint64_t{0};
  static constexpr std::uint64_t kStatusBit = std::uint64_t{1} << 32;  // the container's report rather than its end

  void Watch(int fd, std::uint64_t key) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = key;
    checked("watch a descriptor", [&] { return ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &event); });
  }

  void Unwatch(int fd) { ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

  void Obey(Message& message) {
    if (message.type == Message::kKill) {
      const auto found = containers_.find(message.ticket);
      if (found != containers_.end()) found->second->process().Signal(message.first);
    } else if (message.type == Message::kRun) {
      try {
        Run(message);
      } catch (const SysError& error) {
        Fail(message.ticket, error.code().value(), error.step, Explain(error));
      } catch (const StateError& error) {
        Fail(message.ticket, EEXIST, "claim the container's id", error.what());
      } catch (const std::exception& error) {
        Fail(message.ticket, EINVAL, "read the configuration", error.what());
      }
    } else {
      throw SysError(EPROTO, "understand a message");
    }
  }

  void Run(Message& message) {
    const bool terminal = message.first == 1;
    if (message.descriptors.size() != (terminal ? 0 : 3) || containers_.contains(message.ticket)) {
      throw SysError(EPROTO, "understand a message");
    }
    Attachment attachment;
    attachment.die_with_parent = true;
    for (std::size_t i = 0; i < message.descriptors.size(); ++i) attachment.stdio[i] = message.descriptors[i].get();
    auto container = std::make_unique<Container>(state_root_, message.text, message.more, attachment);
    const bool has_terminal = container->plan().config.process->terminal;
    if (has_terminal != terminal) {
      throw SysError(EINVAL,
                     terminal ? "process.terminal is not set in config.json" : "process.terminal needs a terminal");
    }
    Watch(container->process().status(), kStatusBit | message.ticket);
    containers_.emplace(message.ticket, std::move(container));
  }

  void Started(std::uint32_t ticket) {
    const auto found = containers_.find(ticket);
    if (found == containers_.end()) return;
    Container& container = *found->second;
    Unwatch(container.process().status());
    try {
      container.AwaitOutcome();
      container.Record();
      Watch(container.process().pidfd(), ticket);
      Message message;
      message.type = Message::kStarted;
      message.ticket = ticket;
      message.first = container.process().pid();
      UniqueFd& master = container.plan().process.console_master;
      Send(message, master.get() >= 0 ? std::vector<int>{master.get()} : std::vector<int>{});
      master = UniqueFd();  // the owner's alone from now on
    } catch (const ChildError& error) {
      containers_.erase(found);  // first the cleaning, then the news
      Fail(ticket, error.error, error.step, error.what());
    } catch (const SysError& error) {
      containers_.erase(found);
      Fail(ticket, error.code().value(), error.step, Explain(error));
    }
  }

  void Ended(std::uint32_t ticket) {
    const auto found = containers_.find(ticket);
    if (found == containers_.end()) return;
    Unwatch(found->second->process().pidfd());
    const Ending ending = found->second->process().Wait();
    try {
      found->second->Remove();
    } catch (const SysError&) {
      // A cgroup that cannot be removed now does not change how the program ended.
    }
    containers_.erase(found);
    Message message;
    message.type = Message::kExited;
    message.ticket = ticket;
    message.first = ending.signaled ? 1 : 0;
    message.second = ending.value;
    Send(message, {});
  }

  void Fail(std::uint32_t ticket, int error, const std::string& step, const std::string& text) {
    Message message;
    message.type = Message::kFailed;
    message.ticket = ticket;
    message.first = error;
    message.text = step;
    message.more = text;
    Send(message, {});
  }

  /// An owner that is gone is noticed by the next read.
  void Send(const Message& message, const std::vector<int>& descriptors) { SendMessage(socket_, message, descriptors); }

  int socket_;
  std::string state_root_;
  UniqueFd poll_;
  std::map<std::uint32_t, std::unique_ptr<Container>> containers_;  // their destructors kill and clean up
};

}  // namespace

int Serve(int socket, const std::string& state_root) {
  Server server(socket, state_root);
  server.Serve();
  return 0;
}

}  // namespace gantry
