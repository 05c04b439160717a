#include "runtime/oom_watch.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include <charconv>

#include "runtime/cgroup_files.h"
#include "runtime/files.h"

namespace gantry {
namespace {

constexpr const char* kStep = "watch for a lack of memory";

/// "cgroup.event_control": a descriptor to be told by, and the one of what it is to tell of.
UniqueFd WatchOld(const std::string& directory) {
  UniqueFd event(checked(kStep, [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }));
  const UniqueFd control(
      checked(kStep, [&] { return ::open((directory + "/memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC); }));
  const UniqueFd registry(
      checked(kStep, [&] { return ::open((directory + "/cgroup.event_control").c_str(), O_WRONLY | O_CLOEXEC); }));
  const std::string words = std::to_string(event.get()) + " " + std::to_string(control.get());
  checked(kStep, [&] { return ::write(registry.get(), words.data(), words.size()); });
  return event;
}

UniqueFd WatchUnified(const std::string& file) {
  UniqueFd event(checked(kStep, [] { return ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK); }));
  checked(kStep, [&] { return ::inotify_add_watch(event.get(), file.c_str(), IN_MODIFY); });
  return event;
}

}  // namespace

OomWatch::OomWatch(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    const std::vector<std::string> one = {directory};
    const CgroupFiles files(one);
    if (files.Has("memory.oom_control")) {
      counter_ = directory + "/memory.oom_control";
      event_ = WatchOld(directory);
    } else if (files.Has("memory.events")) {
      counter_ = directory + "/memory.events";
      event_ = WatchUnified(counter_);
    }
  }
  seen_ = Count();
}

std::uint64_t OomWatch::Count() const {
  if (counter_.empty()) return 0;
  std::string text;
  try {
    text = ReadFile(counter_, 4096);
  } catch (const SysError&) {
    return seen_;  // removed meanwhile, which is told as well
  }
  constexpr std::string_view kKey = "oom_kill ";  // "oom_kill_disable" is another
  const std::size_t at = text.find(kKey);
  std::uint64_t count = 0;
  if (at != std::string::npos) std::from_chars(text.data() + at + kKey.size(), text.data() + text.size(), count);
  return count;
}

bool OomWatch::Happened() {
  char drained[4096];
  while (event_.get() >= 0 && ::read(event_.get(), drained, sizeof drained) > 0) {
  }
  const std::uint64_t before = std::exchange(seen_, Count());
  return seen_ > before;
}

}  // namespace gantry
