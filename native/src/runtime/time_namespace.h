// A time namespace: its clocks are set between its making and the birth of its first process, and never again.
#pragma once

#include <string>

#include "core/sys.h"
#include "runtime/field.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace gantry {

/// `linux.timeOffsets` as /proc/self/timens_offsets takes it; empty: clocks as the host's. Throws ConfigError.
std::string ParseTimeOffsets(const Field& field);

/// From then on children of this process are born in a new time namespace. False with errno set on failure. System
/// calls only.
bool BearInNewTime(const std::string& offsets) noexcept;

/// While it lives, what we clone is born in a new time namespace; the caller itself stays in its own.
class ChildrenInTimeNamespace {
 public:
  /// Unless it is wanted, nothing changes. Throws SysError.
  ChildrenInTimeNamespace(bool wanted, const std::string& offsets);
  ~ChildrenInTimeNamespace();
  ChildrenInTimeNamespace(const ChildrenInTimeNamespace&) = delete;
  ChildrenInTimeNamespace& operator=(const ChildrenInTimeNamespace&) = delete;

 private:
  UniqueFd own_;
};

}  // namespace gantry
