// Threads of the addon's own, and what they cost.
#pragma once

#include <pthread.h>

#include <csignal>
#include <cstdint>
#include <ctime>
#include <thread>
#include <utility>

namespace gantry {

/// Signals are for the main thread.
template <typename Run>
std::thread StartThread(Run run) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(run));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

/// That the calling thread has used so far.
inline std::uint64_t CpuNanoseconds() noexcept {
  timespec now = {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace gantry
