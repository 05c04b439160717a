#include "runtime/state.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <memory>

#include "runtime/cgroup_freezer.h"
#include "runtime/field.h"
#include "runtime/files.h"
#include "runtime/json.h"

namespace gantry {
namespace {

constexpr const char* kStateFile = "state.json";
constexpr const char* kConfigFile = "config.json";
constexpr std::size_t kMaxState = kMaxJsonBytes;

void CheckId(const std::string& id) {
  const bool legal = std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '+' ||
           c == '-' || c == '.';
  });
  if (id.empty() || id.size() > 200 || !legal || id == "." || id == "..") {
    throw ConfigError("invalid container ID format: " + QuoteJson(id) + " (letters, digits and _+-. only)");
  }
}

std::string Member(const char* name, const std::string& value) { return "\"" + std::string(name) + "\": " + value; }

/// Whether it is still the process that was recorded.
bool Lives(const State& state) { return state.start_time != 0 && ProcessStartTime(state.pid) == state.start_time; }

std::string PrintAnnotations(const State& state) {
  std::string text = "{";
  for (const auto& [name, value] : state.annotations) {
    if (text.size() > 1) text += ", ";
    text += QuoteJson(name) + ": " + QuoteJson(value);
  }
  return text + "}";
}

}  // namespace

const char* StatusName(Status status) {
  switch (status) {
    case Status::kCreating:
      return "creating";
    case Status::kCreated:
      return "created";
    case Status::kRunning:
      return "running";
    case Status::kPaused:
      return "paused";
    case Status::kStopped:
      return "stopped";
  }
  return "";
}

StateDirectory StateDirectory::Make(const std::string& root, const std::string& id) {
  CheckId(id);
  for (auto end = root.find('/', 1);; end = root.find('/', end + 1)) {
    const std::string each = root.substr(0, end);
    const std::string step = "make the state directory " + each;
    if (::mkdir(each.c_str(), end == std::string::npos ? 0700 : 0755) != 0 && errno != EEXIST)
      throw SysError(errno, step);
    if (end == std::string::npos) break;
  }
  const std::string path = root + "/" + id;
  if (::mkdir(path.c_str(), 0700) != 0) {
    if (errno == EEXIST) throw StateError("container with given ID already exists");
    throw SysError(errno, "make the state directory " + path);
  }
  return Open(root, id);
}

StateDirectory StateDirectory::Open(const std::string& root, const std::string& id) {
  CheckId(id);
  const std::string path = root + "/" + id;
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (directory.get() < 0) {
    if (errno == ENOENT) throw StateError("container does not exist");
    throw SysError(errno, "open the state directory " + path);
  }
  return {root, id, std::move(directory)};
}

void StateDirectory::Lock() const {
  checked("lock the container", [&] { return ::flock(fd(), LOCK_EX); });
}

void StateDirectory::Write(const State& state) const {
  std::string cgroups = "[";
  for (const std::string& directory : state.cgroups) {
    if (cgroups.size() > 1) cgroups += ", ";
    cgroups += QuoteJson(directory);
  }
  std::string scope;
  if (state.scope) {
    scope = ", " + Member("scope", QuoteJson(state.scope->unit)) + ", " +
            Member("scopeOfUser", state.scope->of_user ? "true" : "false");
  }
  const std::string text =
      "{" + Member("ociVersion", QuoteJson(state.oci_version)) + ", " + Member("id", QuoteJson(state.id)) + ", " +
      Member("pid", std::to_string(state.pid)) + ", " + Member("startTime", std::to_string(state.start_time)) + ", " +
      Member("bundle", QuoteJson(state.bundle)) + ", " + Member("rootfs", QuoteJson(state.rootfs)) + ", " +
      Member("created", QuoteJson(state.created)) + ", " + Member("annotations", PrintAnnotations(state)) + ", " +
      Member("cgroups", cgroups + "]") + scope + "}\n";
  ReplaceFile(fd(), kStateFile, text, 0600);
}

void StateDirectory::WriteConfig(const std::string& document) const { ReplaceFile(fd(), kConfigFile, document, 0600); }

std::string StateDirectory::ReadConfig() const {
  const UniqueFd file(checked("open the configuration of the container",
                              [&] { return ::openat(fd(), kConfigFile, O_RDONLY | O_NOFOLLOW | O_CLOEXEC); }));
  return ReadAll(file.get(), kMaxJsonBytes, "the configuration of " + id_);
}

std::optional<State> StateDirectory::Read() const {
  const UniqueFd file(::openat(fd(), kStateFile, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno == ENOENT) return std::nullopt;
    throw SysError(errno, "open the state of " + id_);
  }
  const Json json = ParseJson(ReadAll(file.get(), kMaxState, "the state of " + id_));
  const Field root(&json, "");
  State state;
  state.oci_version = root["ociVersion"].String();
  state.id = root["id"].String();
  state.pid = static_cast<pid_t>(root["pid"].Integer(0, INT32_MAX));
  state.start_time = root["startTime"].Unsigned(UINT64_MAX);
  state.bundle = root["bundle"].String();
  state.rootfs = root["rootfs"].String();
  state.created = root["created"].String();
  for (const auto& [name, value] : root["annotations"].Members()) state.annotations.emplace_back(name, value.String());
  state.cgroups = root["cgroups"].Strings();
  if (root["scope"].Present()) {
    state.scope = {.unit = root["scope"].String(), .of_user = root["scopeOfUser"].BoolOr(false)};
  }
  return state;
}

Status StateDirectory::Find(const std::optional<State>& state) const {
  if (!state || state->pid == 0) return Status::kCreating;
  if (!Lives(*state)) return Status::kStopped;
  // Whoever waits for `start` holds the fifo open for reading; exec closes it.
  const UniqueFd fifo(::openat(fd(), kStartFifo, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  return fifo.get() >= 0 ? Status::kCreated : Status::kRunning;
}

Status StateDirectory::FindPaused(const std::optional<State>& state) const {
  const Status status = Find(state);
  const bool alive = status == Status::kCreated || status == Status::kRunning;
  return alive && IsFrozen(state->cgroups) ? Status::kPaused : status;
}

void StateDirectory::Remove() const {
  // Whatever is in it, also what somebody who was killed was about to write.
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(
      ::fdopendir(::openat(fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), ::closedir);
  while (listing) {
    const dirent* entry = ::readdir(listing.get());
    if (entry == nullptr) break;
    ::unlinkat(fd(), entry->d_name, 0);  // not of . and .., which are directories
  }
  const std::string path = root_ + "/" + id_;
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) throw SysError(errno, "remove the state directory " + path);
}

std::uint64_t ProcessStartTime(pid_t pid) {
  std::string text;
  try {
    text = ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  } catch (const SysError&) {
    return 0;  // no such process
  }
  const auto name_end = text.rfind(") ");  // the name in brackets may contain anything
  if (name_end == std::string::npos || text[name_end + 2] == 'Z' || text[name_end + 2] == 'X') return 0;
  std::size_t at = name_end + 2;
  for (int field = 3; field < 22; ++field) at = text.find(' ', at) + 1;
  std::uint64_t ticks = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), ticks);
  return ticks;
}

UniqueFd OpenProcess(const State& state) {
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, state.pid, 0)));
  if (process.get() >= 0 && !Lives(state)) return UniqueFd();
  return process;
}

std::string PrintState(const State& state, Status status) {
  const pid_t pid = status == Status::kStopped ? 0 : state.pid;
  std::string text = "{\n";
  text += "  " + Member("ociVersion", QuoteJson(state.oci_version)) + ",\n";
  text += "  " + Member("id", QuoteJson(state.id)) + ",\n";
  text += "  " + Member("pid", std::to_string(pid)) + ",\n";
  text += "  " + Member("status", QuoteJson(StatusName(status))) + ",\n";
  text += "  " + Member("bundle", QuoteJson(state.bundle)) + ",\n";
  text += "  " + Member("rootfs", QuoteJson(state.rootfs)) + ",\n";
  text += "  " + Member("created", QuoteJson(state.created)) + ",\n";
  if (!state.annotations.empty()) text += "  " + Member("annotations", PrintAnnotations(state)) + ",\n";
  return text + "  " + Member("owner", "\"\"") + "\n}\n";
}

std::string Rfc3339Now() {
  // Not gmtime, which reads the host's /etc/localtime to tell what the time is in UTC.
  const auto now = std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now());
  const auto day = std::chrono::floor<std::chrono::days>(now);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(now - day);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%09dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()), static_cast<int>(time.subseconds().count()));
  return text;
}

}  // namespace gantry
