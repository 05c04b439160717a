#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "core/own_ids.h"
#include "core/sys.h"
#include "launcher/like_node.h"
#include "launcher/lock.h"
#include "launcher/new_container.h"
#include "launcher/recipe.h"
#include "launcher/removal.h"
#include "launcher/stay.h"
#include "launcher/store.h"
#include "launcher/unclear.h"
#include "launcher/verbs.h"
#include "runtime/json.h"
#include "runtime/print.h"

namespace gantry {
namespace {

constexpr int kFailed = 125;
constexpr int kStart = 1;
constexpr int kEndingTries = 200;
constexpr useconds_t kEndingWaitMicroseconds = 10'000;

/// As Node resolves it, too.
bool IsPlainPath(const std::string& path) {
  return path.starts_with('/') && !path.ends_with('/') && (path + "/").find("//") == path.npos &&
         (path + "/").find("/./") == path.npos && (path + "/").find("/../") == path.npos;
}

/// The recipe of these words, for who holds the store's lock. If there is none, Node is told, whom we become, to keep
/// one.
Recipe RecipeFor(const Store& store, const RunWords& run, const std::string& stamp) {
  const std::string key = Recipe::KeyOf(store, run, stamp);
  try {
    Recipe recipe = Recipe::Read(store, key);
    if (recipe.Holds() && recipe.HasImage(store)) return recipe;
  } catch (const std::exception&) {
  }
  ::setenv("GANTRY_RECIPE", (std::to_string(::getpid()) + " " + key).c_str(), 1);
  throw Unclear("no recipe");
}

/// False if nobody knows whether it has run: its monitor has gone. Throws an exception if it could not be started, and
/// nothing of it has run.
bool Start(MonitorLink& monitor, const Recipe& recipe) {
  if (!recipe.detached) {
    monitor.Say(Frame::kRequest, std::string("{\"id\":2,\"do\":\"attach\",\"whenSlow\":\"wait\",\"input\":") +
                                     (recipe.interactive ? "true" : "false") + "}");
    monitor.Say(Frame::kRequest, R"({"id":3,"do":"subscribe"})");
  }
  monitor.Say(Frame::kRequest, "{\"id\":" + std::to_string(kStart) + R"(,"do":"start"})");
  const auto reply = monitor.AwaitReply(kStart);
  if (reply && reply->Find("error") != nullptr) throw Unclear("it cannot be started");
  return reply.has_value();
}

/// What it wrote down counts where the monitor has gone before it could tell. A process that is killed closes its files
/// a moment before it has ended.
Ended EndOf(const Store& store, const NewContainer& container) {
  ContainerRecord place;
  place.folder = container.folder();
  ContainerState state = store.StateOf(place);
  for (int tries = 0; state.IsAlive() && tries < kEndingTries; ++tries) {
    ::usleep(kEndingWaitMicroseconds);
    state = store.StateOf(place);
  }
  if (state.IsAlive() || state.needs_recovery) return {};
  return {true, std::atoi(state.exit_code.c_str())};
}

/// It may have run: whatever goes wrong from here on, it must not be run again.
Outcome Finish(const Store& store, const Recipe& recipe, const std::string& id, std::optional<int> exit_code) {
  if (!exit_code) PrintError("gantry: the monitor of the container was killed, and the container with it\n");
  Outcome result;
  result.exit_code = exit_code.value_or(kFailed);
  if (recipe.removed && RemoveContainer(store, id, {}) == Removed::kNo) {
    result.more = {"--root", store.root(), "rm", "--force", "--volumes", id};
  }
  return result;
}

Ended Attend(const Store& store, NewContainer& container, HeldSignals& signals, bool passes_input) {
  try {
    Ended ended = StayUntilEnded(container.monitor(), signals, container.folder(), passes_input);
    if (!ended.is_known && !ended.is_unread) ended = EndOf(store, container);
    return ended;
  } catch (const std::exception&) {
    return {};
  }
}

/// As client/verbs/verb-attach.ts says it.
Outcome Leave(const std::string& id, int exit_code) {
  const std::string name = id.substr(0, kShortId);
  PrintError("gantry: nobody reads what the container " + name + " says any more; it goes on: `gantry logs " + name +
             "` shows it, `gantry stop " + name + "` ends it\n");
  return {.exit_code = exit_code, .more = {}};
}

}  // namespace

Outcome RunContainer(const RunWords& run, const std::string& stamp) {
  if (::geteuid() != 0 || !OwnIds::Get().IsHost()) throw Unclear("somebody who is not root");
  const Store store(run.root);
  if (!IsPlainPath(store.root())) throw Unclear("a path that means another");
  BeLikeNode();
  auto held = Lock::Try(store.root(), "store", Lock::Mode::kShared);
  if (!held) throw Unclear("somebody who sweeps the store");
  const Recipe recipe = RecipeFor(store, run, stamp);
  if (!store.Leftovers().empty()) throw Unclear("something to clear away");
  std::optional<HeldSignals> signals;
  if (!recipe.detached) signals.emplace();
  NewContainer container(store, recipe, run, std::move(*held));
  bool has_started = false;
  try {
    has_started = Start(container.monitor(), recipe);
    if (!has_started && !container.HasState()) throw Unclear("no monitor");
  } catch (const std::exception&) {
    container.Undo();
    throw;
  }
  container.LetGo();
  const bool is_told = !recipe.detached || PrintOut(container.id() + "\n") || errno == EPIPE;
  if (!has_started) return Finish(store, recipe, container.id(), std::nullopt);
  if (!is_told) {
    const std::string reason = std::strerror(errno);
    PrintError("gantry: cannot write the id of the container " + container.id() + ", which runs: " + reason + "\n");
    return {.exit_code = kFailed, .more = {}};
  }
  if (recipe.detached) return {};
  const Ended ended = Attend(store, container, *signals, recipe.interactive);
  if (ended.is_unread) return Leave(container.id(), ended.exit_code);
  return Finish(store, recipe, container.id(), ended.is_known ? std::optional(ended.exit_code) : std::nullopt);
}

}  // namespace gantry
