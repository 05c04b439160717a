// The store's locks by name, as client/store/locks.ts has them: ranges of one file, which the kernel lets go of with
// their holder.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/sys.h"

namespace gantry {

class Lock {
 public:
  enum class Mode { kShared, kAlone };

  /// Nothing if somebody holds it. Throws SysError.
  static std::optional<Lock> Try(const std::string& root, std::string_view name, Mode mode);
  /// Waits for it, and is alone then. Throws SysError.
  static Lock Await(const std::string& root, std::string_view name);

 private:
  explicit Lock(UniqueFd held) : held_(std::move(held)) {}

  UniqueFd held_;
};

}  // namespace gantry
