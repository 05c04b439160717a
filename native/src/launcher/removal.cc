#include "launcher/removal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "core/sys.h"
#include "launcher/lock.h"
#include "launcher/monitor_link.h"
#include "launcher/package.h"
#include "layer/layer_files.h"
#include "layer/overlay_mount.h"

namespace gantry {
namespace {

constexpr std::string_view kKill = R"({"id":1,"do":"stop","signal":9,"timeoutMs":0})";
constexpr useconds_t kEndingMicroseconds = 5'000;

void ReleaseName(const Store& store, const std::string& id, const std::string& name) {
  const Lock alone = Lock::Await(store.root(), "names");
  const std::string link = store.root() + "/names/" + name;
  char target[256];
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  if (length < 0 || std::string_view(target, static_cast<std::size_t>(length)) != id) return;  // somebody else's
  checked(("remove " + link).c_str(), [&] { return ::unlink(link.c_str()); });
}

Removed Remove(const Store& store, const std::string& id, RemovalOptions options) {
  const Lock lock = Lock::Await(store.root(), "container " + id);
  const auto record = store.Read(id);
  if (!record) return Removed::kWasGone;
  if (IsThere(record->folder + "/renamed")) return Removed::kNo;
  if (record->has_anonymous_volumes && (options.volumes || record->GoesWhenItEnds())) return Removed::kNo;
  ContainerState state = store.StateOf(*record);
  while (options.kills && state.IsAlive() && state.status != ContainerState::Status::kPaused) {
    if (auto monitor = MonitorLink::Connect(record->folder)) {
      monitor->Say(Frame::kRequest, kKill);
      if (!HasStopped(*monitor)) return Removed::kNo;
    } else {
      ::usleep(kEndingMicroseconds);  // it hears nobody any more, and is about to end
    }
    state = store.StateOf(*record);
  }
  if (state.IsAlive() || state.needs_recovery || IsThere(StateRoot() + "/" + id)) return Removed::kNo;
  ClearAway(store, id, record->name);
  return Removed::kYes;
}

}  // namespace

void ClearAway(const Store& store, const std::string& id, const std::string& name) {
  const std::string folder = store.FolderOf(id);
  Unmount(folder + "/rootfs");
  if (!name.empty()) ReleaseName(store, id, name);
  const std::string parent = store.root() + "/containers";
  const std::string doomed = ".removed-" + id;
  if (::rename(folder.c_str(), (parent + "/" + doomed).c_str()) != 0) {
    if (errno == ENOENT) return;  // it was never made
    throw SysError(errno, "rename " + folder);
  }
  const UniqueFd place(checked("open the folder of containers",
                               [&] { return ::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
  RemoveTree(place.get(), doomed, "remove " + folder);
}

Removed RemoveContainer(const Store& store, const std::string& id, RemovalOptions options) noexcept {
  try {
    return Remove(store, id, options);
  } catch (const std::exception&) {
    return Removed::kNo;
  }
}

}  // namespace gantry
