#include "runtime/cgroup_freezer.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "core/sys.h"
#include "runtime/files.h"
#include "runtime/state.h"

namespace gantry {
namespace {

constexpr int kAttempts = 500;  // of 10 ms

/// One of the two kinds: which file takes the wish, which tells of it, and the words of both.
struct Freezer {
  std::string wish;
  const char* freeze;
  const char* thaw;
  std::string report;
  const char* frozen;  // what is found in the report
  const char* thawed;
};

std::optional<Freezer> FindFreezer(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    const std::string old = directory + "/freezer.state";
    if (::access(old.c_str(), F_OK) == 0) return Freezer{old, "FROZEN", "THAWED", old, "FROZEN", "THAWED"};
  }
  for (const std::string& directory : directories) {
    const std::string wish = directory + "/cgroup.freeze";
    if (::access(wish.c_str(), F_OK) == 0) {
      return Freezer{wish, "1", "0", directory + "/cgroup.events", "frozen 1", "frozen 0"};
    }
  }
  return std::nullopt;
}

void WriteWish(const Freezer& freezer, bool frozen) {
  const std::string step = "write " + freezer.wish;
  const UniqueFd file(checked(step.c_str(), [&] { return ::open(freezer.wish.c_str(), O_WRONLY | O_CLOEXEC); }));
  const std::string word = frozen ? freezer.freeze : freezer.thaw;
  checked(step.c_str(), [&] { return ::write(file.get(), word.data(), word.size()); });
}

void Set(const Freezer& freezer, bool frozen) {
  WriteWish(freezer, frozen);
  const std::string wanted = frozen ? freezer.frozen : freezer.thawed;
  for (int attempt = 0; ReadFile(freezer.report, 4096).find(wanted) == std::string::npos; ++attempt) {
    if (attempt == kAttempts) {
      if (frozen) WriteWish(freezer, false);  // half of the container must not stay behind, stopped
      throw SysError(EBUSY, frozen ? "freeze the container" : "thaw the container");
    }
    ::poll(nullptr, 0, attempt < 10 ? 1 : 10);
    if (frozen && attempt % 10 == 9) WriteWish(freezer, true);  // version 1 gives up on processes that fork meanwhile
  }
}

}  // namespace

bool IsFrozen(const std::vector<std::string>& directories) {
  const auto freezer = FindFreezer(directories);
  try {
    return freezer && ReadFile(freezer->report, 4096).find(freezer->thawed) == std::string::npos;
  } catch (const SysError&) {
    return false;  // removed meanwhile
  }
}

void Freeze(const std::vector<std::string>& directories, bool frozen) {
  const auto freezer = FindFreezer(directories);
  if (!freezer) throw StateError("the cgroup of the container has no freezer on this host");
  Set(*freezer, frozen);
}

void ThawIfFrozen(const std::vector<std::string>& directories) {
  try {
    const auto freezer = FindFreezer(directories);
    if (freezer && IsFrozen(directories)) Set(*freezer, false);
  } catch (const SysError& error) {
    const int code = error.code().value();
    if (code != ENOENT && code != ENODEV) throw;  // it ended meanwhile, and systemd removed its cgroup
  }
}

}  // namespace gantry
