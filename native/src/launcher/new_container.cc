#include "launcher/new_container.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "core/spawn.h"
#include "launcher/package.h"
#include "launcher/random.h"
#include "launcher/removal.h"
#include "launcher/unclear.h"
#include "layer/overlay_mount.h"
#include "runtime/files.h"

namespace gantry {
namespace {

constexpr std::size_t kIdBytes = 32;
constexpr std::size_t kLongestName = 200;
constexpr int kNameTries = 50;
constexpr mode_t kPrivate = 0600;

/// ISO 8601, as JavaScript prints it.
std::string NowText() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  char text[sizeof "YYYY-MM-DDTHH:MM:SS"];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  const std::string milliseconds = std::to_string(1000 + now.tv_nsec / 1'000'000).substr(1);
  return std::string(text) + "." + milliseconds + "Z";
}

void MakeFolder(const std::string& path, mode_t mode) {
  checked(("make " + path).c_str(), [&] { return ::mkdir(path.c_str(), mode); });
}

UniqueFd OpenFolder(const std::string& path) {
  return UniqueFd(
      checked(("open " + path).c_str(), [&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
}

}  // namespace

NewContainer::NewContainer(const Store& store, const Recipe& recipe, const RunWords& run, Lock)
    : store_(store), recipe_(recipe), id_(RandomHex(kIdBytes)), folder_(store.FolderOf(id_)) {
  lock_ = Lock::Try(store.root(), "container " + id_, Lock::Mode::kAlone);
  if (!lock_) throw Unclear("two ids at one place");
  try {
    Make(run);
  } catch (const std::exception&) {
    Undo();
    throw;
  }
}

void NewContainer::Make(const RunWords& run) {
  MakeFolder(folder_, 0700);
  for (const char* name : {"/rootfs", "/upper", "/work"}) MakeFolder(folder_ + name, 0755);
  const std::string upper = folder_ + "/upper";
  checked("let others in", [&] { return ::chmod(upper.c_str(), 0755); });  // whatever the umask: it is the root
  ClaimName(run.name);
  const Filling filling{id_, name_, NowText(), run.command, run.values};
  const UniqueFd folder = OpenFolder(folder_);
  for (const auto& [name, text, mode] : recipe_.FilesFor(filling)) {
    ReplaceFile(folder.get(), name, text, mode);
    checked("let others read", [&] { return ::fchmodat(folder.get(), name.c_str(), mode, 0); });  // whatever the umask
  }
  monitor_.emplace(recipe_.runtime, folder_);  // which has things to prepare of its own meanwhile
  MountOverlay({recipe_.lower, folder_ + "/upper", folder_ + "/work", folder_ + "/rootfs", !recipe_.removed});
  ReplaceFile(folder.get(), "container.json", recipe_.RecordFor(filling), kPrivate, !recipe_.removed);
}

/// client/containers/names.ts: who wants a name that is taken, or was left by somebody who was killed, is Node's to
/// answer.
void NewContainer::ClaimName(const std::string& wanted) {
  if (!wanted.empty()) {
    if (!IsContainerName(wanted) || wanted.size() > kLongestName || !ClaimFree(wanted)) throw Unclear("a name");
    return;
  }
  for (int tries = 0; tries < kNameTries; ++tries) {
    if (ClaimFree(recipe_.SomeName())) return;
  }
  throw Unclear("all names are taken");
}

bool NewContainer::ClaimFree(const std::string& name) {
  const std::string link = store_.root() + "/names/" + name;
  if (::symlink(id_.c_str(), link.c_str()) == 0) {
    name_ = name;
    return true;
  }
  if (errno != EEXIST) throw SysError(errno, "make " + link);
  return false;
}

bool NewContainer::HasState() const { return IsThere(recipe_.state_root + "/" + id_); }

void NewContainer::Undo() {
  if (monitor_) monitor_->Dismiss();
  if (HasState()) {  // it was killed
    const UniqueFd nobodys(checked("open /dev/null", [] { return ::open("/dev/null", O_RDWR | O_CLOEXEC); }));
    AwaitRuntime(SpawnRuntime(recipe_.runtime, {"monitor", "--clean", folder_}, nobodys.get()));
  }
  ClearAway(store_, id_, name_);
}

}  // namespace gantry
