// update: other limits for a container that runs.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "runtime/cgroup_files.h"
#include "runtime/files.h"
#include "runtime/limits.h"
#include "runtime/systemd_limits.h"
#include "runtime/systemd_scope.h"
#include "runtime/verbs.h"

namespace gantry {
namespace {

struct LimitFlag {
  std::string_view name;
  const char* section;  // of linux.resources
  const char* property;
  enum { kNumber, kSize, kText } kind;
};

constexpr std::array<LimitFlag, 14> kLimitFlags = {{
    {"blkio-weight", "blockIO", "weight", LimitFlag::kNumber},
    {"cpu-burst", "cpu", "burst", LimitFlag::kNumber},
    {"cpu-idle", "cpu", "idle", LimitFlag::kNumber},
    {"cpu-period", "cpu", "period", LimitFlag::kNumber},
    {"cpu-quota", "cpu", "quota", LimitFlag::kNumber},
    {"cpu-rt-period", "cpu", "realtimePeriod", LimitFlag::kNumber},
    {"cpu-rt-runtime", "cpu", "realtimeRuntime", LimitFlag::kNumber},
    {"cpu-share", "cpu", "shares", LimitFlag::kNumber},
    {"cpuset-cpus", "cpu", "cpus", LimitFlag::kText},
    {"cpuset-mems", "cpu", "mems", LimitFlag::kText},
    {"memory", "memory", "limit", LimitFlag::kSize},
    {"memory-reservation", "memory", "reservation", LimitFlag::kSize},
    {"memory-swap", "memory", "swap", LimitFlag::kSize},
    {"pids-limit", "pids", "limit", LimitFlag::kNumber},
}};

/// "64m" in bytes, as docker reads it.
std::int64_t ParseAmount(std::string text, const LimitFlag& flag) {
  int shift = 0;
  if (flag.kind == LimitFlag::kSize && !text.empty()) {
    const auto unit = std::string_view("bkmgt").find(static_cast<char>(text.back() | 0x20));
    if (unit != std::string_view::npos) {
      text.pop_back();
      shift = static_cast<int>(unit) * 10;
    }
  }
  std::int64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || rest != text.data() + text.size() || number < -1 || number > INT64_MAX >> shift) {
    throw UsageError("--" + std::string(flag.name) + " must be a number, or -1 for no limit" +
                     (flag.kind == LimitFlag::kSize ? ", with k, m or g behind it if it is so many of them" : ""));
  }
  return number < 0 ? number : number << shift;
}

/// The document that says in full what the flags say in short.
std::string FromFlags(const CommandLine& line) {
  std::map<std::string, std::string> sections;
  for (const auto& [name, value] : line.limits) {
    const LimitFlag& flag = *std::ranges::find(kLimitFlags, name, &LimitFlag::name);
    std::string& section = sections[flag.section];
    section += (section.empty() ? "" : ", ") + QuoteJson(flag.property) + ": ";
    section += flag.kind == LimitFlag::kText ? QuoteJson(value) : std::to_string(ParseAmount(value, flag));
  }
  std::string document;
  for (const auto& [name, members] : sections) {
    document += (document.empty() ? "{" : ", ") + QuoteJson(name) + ": {" + members + "}";
  }
  return document + "}";
}

std::string ReadDocument(const CommandLine& line) {
  if (line.resources_file == "-") return ReadAll(STDIN_FILENO, kMaxJsonBytes, "standard input");
  if (!line.resources_file.empty()) return ReadFile(line.resources_file, kMaxJsonBytes);
  if (!line.limits.empty()) return FromFlags(line);
  throw UsageError(
      "update needs limits: --resources FILE, or - for standard input (linux.resources of a config.json), or flags "
      "such "
      "as --memory (see --help)");
}

}  // namespace

int UpdateVerb(const CommandLine& line) {
  if (line.arguments.size() != 1) throw UsageError("update needs exactly one argument: the container's ID");
  const Json json = ParseJson(ReadDocument(line));
  const Resources resources = ParseResources(Field(&json, "linux.resources"));
  const StateDirectory directory = StateDirectory::Open(line.root, line.arguments[0]);
  directory.Lock();
  const auto state = directory.Read();
  const Status status = directory.Find(state);
  if (status != Status::kRunning && status != Status::kCreated) throw StateError("container not running");
  ApplyResources(resources, state->cgroups);
  if (!state->scope) return 0;
  // What the kernel refuses systemd need not hear of. It writes its own way what it is told, a quota rounded: so once
  // more.
  const Resources whole = WithWholeQuota(resources, CgroupFiles(state->cgroups).Read("cpu.max").value_or(""));
  LimitScope(*state->scope, whole);
  ApplyResources(whole, state->cgroups);
  return 0;
}

}  // namespace gantry
