#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "core/own_ids.h"
#include "core/sys.h"
#include "launcher/new_container.h"
#include "launcher/recipe.h"
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

/// The recipe of these words. If there is none, Node is told, whom we become, to keep one.
Recipe RecipeFor(const Store& store, const RunWords& run, const std::string& stamp) {
  const std::string key = Recipe::KeyOf(store, run, stamp);
  try {
    Recipe recipe = Recipe::Read(store, key);
    if (recipe.Holds()) return recipe;
  } catch (const std::exception&) {
  }
  ::setenv("GANTRY_RECIPE", (std::to_string(::getpid()) + " " + key).c_str(), 1);
  throw Unclear("no recipe");
}

/// Throws an exception if it could not be started: nothing of it has run then.
void Start(MonitorLink& monitor, const Recipe& recipe) {
  if (!recipe.detached) {
    monitor.Say(Frame::kRequest, std::string("{\"id\":2,\"do\":\"attach\",\"whenSlow\":\"wait\",\"input\":") +
                                     (recipe.interactive ? "true" : "false") + "}");
    monitor.Say(Frame::kRequest, R"({"id":3,"do":"subscribe"})");
  }
  monitor.Say(Frame::kRequest, "{\"id\":" + std::to_string(kStart) + R"(,"do":"start"})");
  monitor.Send();
  while (true) {
    const auto frame = monitor.Next();
    if (!frame) {
      if (!monitor.Receive()) throw Unclear("no monitor");
      continue;
    }
    if (frame->type != Frame::kReply) continue;
    const Json reply = ParseJson(frame->payload);
    if (reply.Find("error") != nullptr) throw Unclear("it cannot be started");
    if (reply.Find("id")->text == std::to_string(kStart)) return;
  }
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

/// From here on it has run: whatever goes wrong, it must not be run again.
RunResult Finish(const Store& store, const Recipe& recipe, NewContainer& container, HeldSignals& signals) noexcept {
  Ended ended;
  try {
    ended = StayUntilEnded(container.monitor(), signals, container.folder(), recipe.interactive);
    if (!ended.is_known) ended = EndOf(store, container);
  } catch (const std::exception&) {
    ended.is_known = false;
  }
  RunResult result;
  result.exit_code = ended.is_known ? ended.exit_code : kFailed;
  if (!ended.is_known) PrintError("gantry: the monitor of the container was killed, and the container with it\n");
  if (recipe.removed && !container.RemoveEnded()) {
    result.more = {"--root", store.root(), "rm", "--force", "--volumes", container.id()};
  }
  return result;
}

/// Node has them all when it has started, and so do the containers that it starts: files for its standard streams,
/// and as many descriptors as it may have.
void BeLikeNode() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) checked("open /dev/null", [] { return ::open("/dev/null", O_RDWR); });
  }
  constexpr rlim_t kMostWithoutEnd = 1U << 20;
  rlimit files{};
  checked("ask for limits", [&] { return ::getrlimit(RLIMIT_NOFILE, &files); });
  files.rlim_cur = files.rlim_max == RLIM_INFINITY ? kMostWithoutEnd : files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

RunResult RunContainer(const RunWords& run, const std::string& stamp) {
  if (::geteuid() != 0 || !OwnIds::Get().IsHost()) throw Unclear("somebody who is not root");
  const Store store(run.root);
  if (!IsPlainPath(store.root())) throw Unclear("a path that means another");
  const Recipe recipe = RecipeFor(store, run, stamp);
  if (store.HasLeftovers()) throw Unclear("something to clear away");
  BeLikeNode();
  std::optional<HeldSignals> signals;
  if (!recipe.detached) signals.emplace();
  NewContainer container(store, recipe, run);
  try {
    Start(container.monitor(), recipe);
  } catch (const std::exception&) {
    container.Undo();
    throw;
  }
  container.LetGo();
  if (recipe.detached) {
    PrintOut(container.id() + "\n");
    return {};
  }
  return Finish(store, recipe, container, *signals);
}

}  // namespace gantry
