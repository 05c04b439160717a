#include "runtime/stats.h"

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/sys.h"
#include "runtime/files.h"

namespace gantry {
namespace {

constexpr std::uint64_t kNanosecondsPerTick = 10'000'000;  // USER_HZ is 100 on every architecture
constexpr std::uint64_t kNanosecondsPerMicrosecond = 1000;
constexpr std::uint64_t kNoLimit = UINT64_MAX;

/// The text of the first of the cgroup's directories that has such a file.
std::optional<std::string> ReadAny(const std::vector<std::string>& directories, const std::string& name) {
  for (const std::string& directory : directories) {
    try {
      return ReadFile(directory + "/" + name, 65536);
    } catch (const SysError&) {
      // Another hierarchy has it, or none.
    }
  }
  return std::nullopt;
}

std::uint64_t ToNumber(std::string_view text) {
  if (text.starts_with("max")) return kNoLimit;
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// The number after a key at the beginning of a line.
std::uint64_t Find(const std::optional<std::string>& text, const std::string& key) {
  if (!text) return 0;
  const std::string wanted = key + " ";
  const std::string_view all = *text;
  std::size_t at = all.starts_with(wanted) ? 0 : all.find("\n" + wanted);
  if (at == std::string_view::npos) return 0;
  if (all[at] == '\n') ++at;
  return ToNumber(all.substr(at + wanted.size()));
}

class Source {
 public:
  explicit Source(const std::vector<std::string>& directories) : directories_(directories) {}
  std::optional<std::string> Text(const char* name) const { return ReadAny(directories_, name); }
  /// Of the first file that is there: one version's, then the other's.
  std::uint64_t Number(const char* one, const char* other) const {
    auto text = Text(one);
    if (!text) text = Text(other);
    return text ? ToNumber(*text) : 0;
  }

 private:
  const std::vector<std::string>& directories_;
};

std::string Member(const char* name, std::uint64_t value) {
  return "\"" + std::string(name) + "\": " + std::to_string(value);
}

std::string PrintCpu(const Source& source) {
  const auto throttling = source.Text("cpu.stat");
  std::uint64_t total = 0;
  std::uint64_t user = 0;
  std::uint64_t kernel = 0;
  if (const auto usage = source.Text("cpuacct.usage")) {
    const auto parts = source.Text("cpuacct.stat");
    total = ToNumber(*usage);
    user = Find(parts, "user") * kNanosecondsPerTick;
    kernel = Find(parts, "system") * kNanosecondsPerTick;
  } else {
    total = Find(throttling, "usage_usec") * kNanosecondsPerMicrosecond;
    user = Find(throttling, "user_usec") * kNanosecondsPerMicrosecond;
    kernel = Find(throttling, "system_usec") * kNanosecondsPerMicrosecond;
  }
  std::uint64_t throttled = Find(throttling, "throttled_time");
  if (throttled == 0) throttled = Find(throttling, "throttled_usec") * kNanosecondsPerMicrosecond;
  return "{\"usage\": {" + Member("total", total) + ", " + Member("kernel", kernel) + ", " + Member("user", user) +
         "}, \"throttling\": {" + Member("periods", Find(throttling, "nr_periods")) + ", " +
         Member("throttledPeriods", Find(throttling, "nr_throttled")) + ", " + Member("throttledTime", throttled) +
         "}}";
}

std::string PrintMemory(const Source& source) {
  const auto parts = source.Text("memory.stat");
  std::uint64_t cache = Find(parts, "total_cache");
  if (cache == 0) cache = Find(parts, "file");
  return "{" + Member("cache", cache) + ", \"usage\": {" +
         Member("usage", source.Number("memory.usage_in_bytes", "memory.current")) + ", " +
         Member("max", source.Number("memory.max_usage_in_bytes", "memory.peak")) + ", " +
         Member("limit", source.Number("memory.limit_in_bytes", "memory.max")) + ", " +
         Member("failcnt", source.Number("memory.failcnt", "")) + "}}";
}

}  // namespace

std::string PrintStats(const std::vector<std::string>& directories) {
  const Source source(directories);
  const std::uint64_t limit = source.Number("pids.max", "");
  return "{\"cpu\": " + PrintCpu(source) + ", \"memory\": " + PrintMemory(source) + ", \"pids\": {" +
         Member("current", source.Number("pids.current", "")) +
         (limit == kNoLimit ? "" : ", " + Member("limit", limit)) + "}}";
}

}  // namespace gantry
