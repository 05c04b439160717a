// The command `gantry` as it is installed. What is typed most it does by itself, in a millisecond or as long as a
// container takes, where Node alone takes twenty and more to start; all else, and whatever it is not sure of, it leaves
// to Node, as which it goes on.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/sys.h"
#include "launcher/asked.h"
#include "launcher/package.h"
#include "launcher/store.h"
#include "launcher/verbs.h"
#include "runtime/files.h"
#include "runtime/json.h"
#include "runtime/print.h"

namespace gantry {
namespace {

constexpr std::size_t kPackageJsonBytes = 1U << 20;
constexpr std::size_t kStampBytes = 67;  // "// ", and a SHA-256
constexpr std::string_view kDefaultPath = "/usr/local/bin:/usr/bin:/bin";

/// The first in PATH, else the one that the package was installed with, beside it.
std::optional<std::string> FindNode(const std::string& package) {
  const char* said = ::getenv("PATH");
  const std::string path = said == nullptr ? std::string(kDefaultPath) : said;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    const std::string candidate = (end == at ? "." : path.substr(at, end - at)) + "/node";
    if (IsThere(candidate, X_OK)) return candidate;
    at = end + 1;
  }
  for (const char* place : {"/node_modules/.bin/node", "/../.bin/node", "/../../../bin/node"}) {
    if (IsThere(package + place, X_OK)) return package + place;
  }
  return std::nullopt;
}

/// Returns only by an exception.
[[noreturn]] void BecomeNode(std::span<char*> words) {
  const std::string package = Package();
  const auto node = FindNode(package);
  if (!node) {
    throw std::runtime_error(
        "gantry needs Node 24.12 or newer, and there is no `node` in PATH. Get one from your distribution, from "
        "nodejs.org, or "
        "with `npm install --global node@24`.");
  }
  std::string launcher = package + "/client/gantry.mjs";
  std::string name = "node";
  std::string end_of_options = "--";  // else Node would read the file of our --env-file, and take it for its own
  std::vector<char*> argv{name.data(), end_of_options.data(), launcher.data()};
  argv.insert(argv.end(), words.begin(), words.end());
  argv.push_back(nullptr);
  ::execv(node->c_str(), argv.data());
  throw SysError(errno, "start " + *node);
}

/// Where the package is, and what its linked commands begin with: a digest of all of them. A checkout has none.
std::string Stamp() {
  const std::string path = Package() + "/dist/commands-first.js";
  const UniqueFd file(checked("open the commands", [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  std::array<char, kStampBytes> stamp{};
  const auto got = checked("read the commands", [&] { return ::read(file.get(), stamp.data(), stamp.size()); });
  const std::string text(stamp.data(), static_cast<std::size_t>(got));
  if (text.size() < kStampBytes || !text.starts_with("// ")) throw std::runtime_error("commands without a stamp");
  return path + text;
}

/// What is left to do, by Node.
int Finish(Outcome outcome) {
  if (outcome.more.empty()) return outcome.exit_code;
  std::vector<char*> more;
  for (std::string& word : outcome.more) more.push_back(word.data());
  if (outcome.more_speaks) BecomeNode(more);
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      const UniqueFd null(checked("open /dev/null", [] { return ::open("/dev/null", O_RDWR | O_CLOEXEC); }));
      for (int fd = 0; fd < 3; ++fd) ::dup2(null.get(), fd);
      BecomeNode(more);
    } catch (const std::exception&) {
      ::_exit(1);
    }
  }
  while (child > 0 && ::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return outcome.exit_code;
}

int Answer(std::span<char*> words) {
  if (const auto run = ParseRunWords(words)) return Finish(RunContainer(*run, Stamp()));
  if (const auto transfer = ParseTransferWords(words)) return Finish(TransferImage(*transfer));
  const Asked asked = ParseAsked(words);
  switch (asked.verb) {
    case Asked::Verb::kVersion: {
      const Json about = ParseJson(ReadFile(Package() + "/package.json", kPackageJsonBytes));
      PrintOut("gantry version " + TextOf(about, "version") + "\n");
      break;
    }
    case Asked::Verb::kPs:
      PrintOut(PsText(asked));
      break;
    case Asked::Verb::kLogs:
      for (const auto& [descriptor, text] : LogPieces(asked)) {
        (descriptor == STDERR_FILENO ? PrintError : PrintOut)(text);
      }
      break;
    case Asked::Verb::kExec:
      return ExecIn(asked);
    case Asked::Verb::kStop:
      return Finish(StopAll(asked));
    case Asked::Verb::kRemove:
      return Finish(RemoveAll(asked));
    case Asked::Verb::kCleanUp:
      return Finish(CleanUp(asked));
  }
  return 0;
}

int Main(std::span<char*> words) {
  try {
    return Answer(words);
  } catch (const std::exception&) {  // before anything was printed; Node says what is wrong, if anything is
  }
  try {
    BecomeNode(words);
  } catch (const std::exception& error) {
    PrintError(std::string("gantry: ") + error.what() + "\n");
    return 1;
  }
}

}  // namespace
}  // namespace gantry

int main(int argc, char** argv) { return gantry::Main({argv + 1, static_cast<std::size_t>(std::max(argc, 1) - 1)}); }
