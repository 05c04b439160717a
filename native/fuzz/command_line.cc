// The words of a command line, of which ids, paths and numbers come from others.
#include <string>
#include <vector>

#include "fuzz.h"
#include "runtime/config_error.h"
#include "runtime/options.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gantry;
  std::vector<std::string> words = {"gantry-runtime"};
  for (const char c : std::string(fuzz::Text(data, size))) {
    if (c == '\0') {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  CommandLine line;
  try {
    ParseCommandLine(static_cast<int>(words.size()), argv.data(), line);
    const bool informs =
        line.verb == "--version" || line.verb == "--help" || line.verb == "checkpoint" || line.verb == "restore";
    fuzz::Expect(informs || line.root.starts_with('/'), "the state is somewhere");
    fuzz::Expect(line.preserve_fds >= 0, "descriptors are counted from 3");
    if (line.arguments.size() > 1) ParseSignal(line.arguments[1]);
  } catch (const UsageError&) {
    return 0;
  } catch (const ConfigError&) {
    return 0;
  }
  return 0;
}
