#include "runtime/time_namespace.h"

#include <fcntl.h>
#include <sched.h>

#include <cerrno>

#include "runtime/process_child.h"

namespace gantry {

std::string ParseTimeOffsets(const Field& field) {
  std::string text;
  for (const auto& [clock, offset] : field.Members()) {
    if (clock != "monotonic" && clock != "boottime") offset.Refuse("is no clock of a time namespace");
    const std::int64_t seconds = offset["secs"].Present() ? offset["secs"].Integer(INT64_MIN, INT64_MAX) : 0;
    const std::int64_t nanoseconds = offset["nanosecs"].Present() ? offset["nanosecs"].Integer(0, 999'999'999) : 0;
    text += clock + " " + std::to_string(seconds) + " " + std::to_string(nanoseconds) + "\n";
  }
  return text;
}

bool BearInNewTime(const std::string& offsets) noexcept {
  return ::unshare(CLONE_NEWTIME) == 0 &&
         (offsets.empty() || WriteProc("/proc/self/timens_offsets", offsets.data(), offsets.size()));
}

ChildrenInTimeNamespace::ChildrenInTimeNamespace(bool wanted, const std::string& offsets) {
  if (!wanted) return;
  UniqueFd own(checked("open the time namespace", [] { return ::open("/proc/self/ns/time", O_RDONLY | O_CLOEXEC); }));
  const bool born_there = BearInNewTime(offsets);
  const int error = errno;
  own_ = std::move(own);
  if (born_there) return;
  ::setns(own_.get(), CLONE_NEWTIME);
  throw SysError(error, "make the time namespace");
}

ChildrenInTimeNamespace::~ChildrenInTimeNamespace() {
  // It cannot fail: the namespace is our own, and we were just allowed to leave it.
  if (own_.get() >= 0) ::setns(own_.get(), CLONE_NEWTIME);
}

}  // namespace gantry
