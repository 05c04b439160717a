// Verbs about several containers at a time: what can be done is, all at once, and what could not is Node's to do, or to
// say.
#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/own_ids.h"
#include "core/sys.h"
#include "launcher/like_node.h"
#include "launcher/monitor_link.h"
#include "launcher/removal.h"
#include "launcher/store.h"
#include "launcher/unclear.h"
#include "launcher/verbs.h"
#include "runtime/json.h"
#include "runtime/print.h"

namespace gantry {
namespace {

constexpr std::size_t kMostAtOnce = 100;

/// Throws an exception for who is not root.
void Prepare() {
  if (::geteuid() != 0 || !OwnIds::Get().IsHost()) throw Unclear("somebody who is not root");
  BeLikeNode();
}

std::vector<ContainerRecord> FindAll(const Store& store, const Asked& asked) {
  if (asked.containers.size() > kMostAtOnce) throw Unclear("very many");
  std::vector<ContainerRecord> records;
  for (const std::string& reference : asked.containers) {
    records.push_back(store.Find(reference));
    const auto same = [&](const ContainerRecord& each) { return each.id == records.back().id; };
    if (std::ranges::count_if(records, same) > 1) throw Unclear("one by two names");
    if (store.StateOf(records.back()).status == ContainerState::Status::kPaused) throw Unclear("one that is frozen");
  }
  return records;
}

/// One that is being stopped.
class Stopping {
 public:
  Stopping(const Store& store, const ContainerRecord& record, const std::string& seconds) {
    if (!store.StateOf(record).IsAlive()) return;
    auto connected = MonitorLink::Connect(record.folder);
    if (!connected) return;
    monitor_.emplace(std::move(*connected));
    monitor_->Say(Frame::kRequest, StopRequest(seconds));
    monitor_->Send();
  }

  /// False if it goes on.
  bool Await() { return !monitor_ || HasStopped(*monitor_); }

 private:
  static std::string StopRequest(const std::string& seconds) {
    return R"({"id":1,"do":"stop")" +
           (seconds.empty() ? "" : ",\"timeoutMs\":" + std::to_string(std::stoll(seconds) * 1000)) + "}";
  }

  std::optional<MonitorLink> monitor_;
};

class Removing {
 public:
  /// In a process of its own: the kernel writes down all that the whole disk has to write before it lets an overlay go.
  /// Many at once share that.
  Removing(const Store& store, const ContainerRecord& record, const RemovalOptions& options) {
    pid_ = ::fork();
    if (pid_ == 0) ::_exit(RemoveContainer(store, record.id, options) == Removed::kYes ? 0 : 1);
  }

  /// False if it is still there, or was gone before.
  bool Await() const {
    int status = 0;
    if (pid_ < 0) return false;
    checked("wait for a process", [&] { return ::waitpid(pid_, &status, 0); });
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

 private:
  pid_t pid_;
};

Outcome AwaitAll(const Asked& asked, const Store& store, auto& all, std::vector<std::string> words) {
  Outcome outcome;
  words.insert(words.begin(), {"--root", store.root()});
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].Await()) {
      PrintOut(asked.containers[i] + "\n");
    } else {
      outcome.more_speaks = true;
      words.push_back(asked.containers[i]);
    }
  }
  if (outcome.more_speaks) outcome.more = std::move(words);
  return outcome;
}

/// Of volumes.
bool HasNoLeftovers(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) throw SysError(errno, "open " + path);
  while (const dirent* entry = ::readdir(folder.get())) {
    if (std::string_view(entry->d_name).starts_with(".tmp-")) return false;
  }
  return true;
}

}  // namespace

Outcome StopAll(const Asked& asked) {
  Prepare();
  const Store store(asked.root);
  const auto records = FindAll(store, asked);
  std::vector<Stopping> all;
  for (const ContainerRecord& each : records) all.emplace_back(store, each, asked.seconds);
  std::vector<std::string> words{"stop"};
  if (!asked.seconds.empty()) words.insert(words.end(), {"--time", asked.seconds});
  Outcome outcome = AwaitAll(asked, store, all, std::move(words));
  for (const ContainerRecord& each : records) {
    if (!each.GoesWhenItEnds() || RemoveContainer(store, each.id, {}) != Removed::kNo || outcome.more_speaks) continue;
    outcome.more = {"--root", store.root(), "system", "clean-up"};
  }
  return outcome;
}

Outcome RemoveAll(const Asked& asked) {
  Prepare();
  const Store store(asked.root);
  const auto records = FindAll(store, asked);
  if (!asked.force) {
    for (const ContainerRecord& each : records) {
      if (store.StateOf(each).IsAlive()) throw Unclear("one that runs");
    }
  }
  std::vector<Removing> all;
  for (const ContainerRecord& each : records) {
    all.emplace_back(store, each, RemovalOptions{.kills = asked.force, .volumes = asked.volumes});
  }
  std::vector<std::string> words{"rm"};
  if (asked.force) words.emplace_back("--force");
  if (asked.volumes) words.emplace_back("--volumes");
  return AwaitAll(asked, store, all, std::move(words));
}

Outcome CleanUp(const Asked& asked) {
  Prepare();
  const Store store(asked.root);
  // Who started one that was to go may hold it still when it has ended: nobody comes after us, so we wait for him.
  for (const std::string& name : store.Leftovers(Store::Held::kToo)) {
    const auto record = store.Read(name);
    if (!record || !record->GoesWhenItEnds()) throw Unclear("something to take down");
    if (RemoveContainer(store, name, {}) == Removed::kNo) throw Unclear("something in the way");
  }
  if (!HasNoLeftovers(store.root() + "/volumes")) throw Unclear("half a volume");
  return {};
}

}  // namespace gantry
