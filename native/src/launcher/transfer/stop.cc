#include "launcher/transfer/stop.h"

#include <sys/eventfd.h>

#include <csignal>
#include <cstdint>

#include "launcher/unclear.h"

namespace gantry {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};
static_assert(std::atomic<Stop*>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);
std::atomic<Stop*> current = nullptr;

}  // namespace

Stop::Stop() : event_(checked("make an event", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); })) {
  current = this;
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  for (const int signal : kSignals) ::sigaction(signal, &action, nullptr);
}

Stop::~Stop() {
  for (const int signal : kSignals) ::signal(signal, SIG_DFL);
  current = nullptr;
}

void Stop::Raise() noexcept {
  is_raised_ = true;
  const std::uint64_t one = 1;
  const int before = errno;
  [[maybe_unused]] const ssize_t put = ::write(event_.get(), &one, sizeof one);
  errno = before;
}

void Stop::Check() const {
  if (is_raised_) throw Unclear("somebody else has ended it");
}

void Stop::OnSignal(int) {
  Stop* stop = current;
  stop->is_wanted_ = true;
  stop->Raise();
}

}  // namespace gantry
