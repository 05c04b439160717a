#include "runtime/hook_conversation.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "runtime/json.h"

namespace gantry {
namespace {

constexpr std::size_t kMostOutput = 2048;

long NowMs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

}  // namespace

HookConversation::HookConversation(int process, UniqueFd input, UniqueFd output, std::string state,
                                   std::optional<int> timeout_seconds)
    : process_(process),
      input_(std::move(input)),
      output_(std::move(output)),
      state_(std::move(state)),
      timeout_seconds_(timeout_seconds) {
  for (const UniqueFd* each : {&input_, &output_}) {
    checked("talk to a hook", [&] { return ::fcntl(each->get(), F_SETFL, O_NONBLOCK); });
  }
}

bool HookConversation::Await() {
  const long deadline = timeout_seconds_ ? NowMs() + *timeout_seconds_ * 1000L : 0;
  while (true) {
    const long left = timeout_seconds_ ? std::max(0L, deadline - NowMs()) : -1;
    if (left == 0) return false;
    pollfd events[3] = {{process_, POLLIN, 0}, {output_.get(), POLLIN, 0}, {input_.get(), POLLOUT, 0}};
    if (::poll(events, 3, static_cast<int>(left)) < 0 && errno != EINTR) throw SysError(errno, "wait for a hook");
    if (events[2].revents != 0) Tell();
    if (events[1].revents != 0) Listen();
    if (events[0].revents != 0) return true;
  }
}

void HookConversation::Tell() {
  const ssize_t put = ::write(input_.get(), state_.data(), state_.size());
  if (put < 0 && (errno == EAGAIN || errno == EINTR)) return;
  state_.erase(0, put < 0 ? std::string::npos : static_cast<std::size_t>(put));  // who does not read need not be told
  if (state_.empty()) input_ = UniqueFd();
}

void HookConversation::Listen() {
  char buffer[4096];
  const ssize_t got = ::read(output_.get(), buffer, sizeof buffer);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    output_ = UniqueFd();
  } else if (said_.size() < kMostOutput) {
    said_.append(buffer, std::min(static_cast<std::size_t>(got), kMostOutput - said_.size()));
  }
}

std::string HookConversation::Said() const { return said_.empty() ? "" : ", output: " + QuoteJson(said_); }

}  // namespace gantry
