#include "launcher/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <tuple>

#include "core/sys.h"
#include "launcher/lock.h"
#include "launcher/unclear.h"
#include "runtime/files.h"

namespace gantry {
namespace {

constexpr std::size_t kSmallFileBytes = 64 * 1024;
constexpr std::size_t kIdDigits = 64;

bool IsHex(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsId(std::string_view text) { return text.size() == kIdDigits && IsHex(text); }

/// client/store/store.ts, and client/rootless.ts for who is not root.
std::string RootOf(const std::string& said) {
  if (!said.empty()) return said;
  if (const std::string root = Variable("GANTRY_ROOT"); !root.empty()) return root;
  if (::getuid() == 0) return "/var/lib/gantry";
  if (const std::string data = Variable("XDG_DATA_HOME"); data.starts_with('/')) return data + "/gantry";
  const std::string home = Variable("HOME");
  if (home.empty()) throw Unclear("where the store is");
  return home + "/.local/share/gantry";
}

/// Empty if there is none.
std::string ReadIfThere(const std::string& path, std::size_t limit) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) return "";
  if (file < 0) throw SysError(errno, "open " + path);
  return ReadAll(UniqueFd(file).get(), limit, path);
}

void Check(bool holds, const char* what) {
  if (!holds) throw Unclear(what);
}

bool IsOf(const Json* value, Json::Type type) { return value != nullptr && value->type == type; }

/// As text, for those that are compared or printed only.
const std::string& WholeNumberOf(const Json& object, std::string_view name) {
  const Json* value = object.Find(name);
  Check(IsOf(value, Json::Type::kNumber), "a number is missing");
  Check(
      value->text == "0" || (value->text[0] != '0' && value->text.find_first_not_of("0123456789") == std::string::npos),
      "a number is not whole");
  return value->text;
}

/// The fields of proc_pid_stat(5) from the third on, which is the first behind the name in brackets. Empty if there is
/// no such process.
std::vector<std::string> StatOf(const std::string& pid) {
  const std::string text = ReadIfThere("/proc/" + pid + "/stat", kSmallFileBytes);
  if (text.empty()) return {};
  std::vector<std::string> fields;
  for (std::size_t at = text.rfind(')') + 1; (at = text.find_first_not_of(" \n", at)) != std::string::npos;) {
    const std::size_t end = std::min(text.find_first_of(" \n", at), text.size());
    fields.push_back(text.substr(at, end - at));
    at = end;
  }
  return fields;
}

/// native/monitor-status.ts
bool Lives(const Json& status) {
  const Json* monitor = status.Find("monitor");
  Check(IsOf(monitor, Json::Type::kObject), "a status without its monitor");
  const std::string start_time = WholeNumberOf(*monitor, "startTime");
  std::string boot = ReadFile("/proc/sys/kernel/random/boot_id", kSmallFileBytes);
  while (boot.ends_with('\n')) boot.pop_back();
  if (TextOf(status, "bootId") != boot) return false;
  constexpr std::size_t kState = 0, kFlags = 6, kStartTime = 19;
  constexpr unsigned long kExiting = 0x4;
  const std::vector<std::string> fields = StatOf(WholeNumberOf(*monitor, "pid"));
  // Some hosts hide the processes of others from who is not root, but not in the user namespace that Node would enter.
  if (fields.empty()) Check(::getuid() == 0, "a process that may be hidden");
  if (fields.size() <= kStartTime || fields[kState] == "Z" || fields[kState] == "X") return false;
  if ((std::strtoul(fields[kFlags].c_str(), nullptr, 10) & kExiting) != 0) return false;
  return fields[kStartTime] == start_time;
}

ContainerState::Status StatusOf(const std::string& phase) {
  using enum ContainerState::Status;
  if (phase == "created") return kCreated;
  if (phase == "running") return kRunning;
  if (phase == "paused") return kPaused;
  if (phase == "restarting") return kRestarting;
  Check(phase == "exited", "a phase");
  return kExited;
}

}  // namespace

bool IsContainerName(std::string_view text) {
  const auto plain = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return text.size() > 1 && plain(text[0]) &&
         std::ranges::all_of(text, [&](char c) { return plain(c) || c == '_' || c == '.' || c == '-'; });
}

std::string Variable(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? "" : value;
}

const std::string& TextOf(const Json& object, std::string_view name) {
  const Json* value = object.Find(name);
  Check(IsOf(value, Json::Type::kString), "a text is missing");
  return value->text;
}

const Json* FindSome(const Json& object, std::string_view name) {
  const Json* value = object.Find(name);
  return value == nullptr || value->type == Json::Type::kNull ? nullptr : value;
}

std::string StateRoot() {
  const std::string said = Variable("GANTRY_STATE_ROOT");
  return said.empty() ? "/run/gantry-runtime" : said;
}

bool ContainerRecord::GoesWhenItEnds() const {
  const Json* goes = request.Find("autoRemove");
  return goes != nullptr && goes->boolean;
}

bool ContainerState::IsAlive() const {
  return status == Status::kRunning || status == Status::kPaused || status == Status::kRestarting;
}

Store::Store(const std::string& said) : root_(RootOf(said)) {
  struct stat status{};
  checked("look at the store", [&] { return ::stat(root_.c_str(), &status); });
  Check(S_ISDIR(status.st_mode) && (status.st_mode & 0777) == 0700, "a store as we leave it");
  for (const char* name : {"content/blobs", "layers", "containers", "names", "volumes"}) {
    checked("look at the store", [&] { return ::access((root_ + "/" + name).c_str(), F_OK); });
  }
  const std::string lock = root_ + "/lock";
  UniqueFd(checked("open the store's lock", [&] { return ::open(lock.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC); }));
}

std::vector<std::string> Store::Ids() const {
  std::vector<std::string> names = Names();
  std::erase_if(names, [](const std::string& name) { return !IsId(name); });
  return names;
}

std::vector<std::string> Store::Names() const {
  const std::string path = root_ + "/containers";
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) throw SysError(errno, "open " + path);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) throw SysError(errno, "read " + path);
  return names;
}

std::optional<ContainerRecord> Store::Read(const std::string& id) const {
  ContainerRecord record;
  record.folder = root_ + "/containers/" + id;
  const std::string text = ReadIfThere(record.folder + "/container.json", kMaxJsonBytes);
  if (text.empty()) return std::nullopt;
  Json document = ParseJson(text);
  Check(document.type == Json::Type::kObject && WholeNumberOf(document, "version") == "1", "a version");
  record.id = TextOf(document, "id");
  Check(IsId(record.id), "an id");
  record.name = TextOf(document, "name");
  record.created = TextOf(document, "created");
  record.image = TextOf(document, "image");
  static constexpr std::string_view kDigest = "sha256:";
  const std::string& digest = TextOf(document, "imageId");
  Check(digest.starts_with(kDigest) && IsId(digest.substr(kDigest.size())), "a digest");
  TextOf(document, "architecture");
  for (const char* name : {"layers", "mounts", "endpoints"}) {
    const Json* list = document.Find(name);
    Check(IsOf(list, Json::Type::kArray), "a list is missing");
    if (name == std::string_view("layers")) {
      Check(std::ranges::all_of(list->items, [](const Json& layer) { return IsOf(&layer, Json::Type::kString); }),
            "a layer");
    } else {
      Check(std::ranges::all_of(list->items, [](const Json& each) { return IsOf(&each, Json::Type::kObject); }),
            "a mount");
    }
  }
  record.has_anonymous_volumes = std::ranges::any_of(document.Find("mounts")->items, [](const Json& mount) {
    const Json* volume = mount.Find("volume");
    const Json* anonymous = volume == nullptr ? nullptr : volume->Find("anonymous");
    return anonymous != nullptr && anonymous->boolean;
  });
  const Json* process = document.Find("process");
  const Json* request = document.Find("request");
  Check(IsOf(process, Json::Type::kObject) && IsOf(request, Json::Type::kObject), "an object is missing");
  record.process = *process;
  record.request = *request;
  return record;
}

std::vector<ContainerRecord> Store::List() const {
  std::vector<ContainerRecord> records;
  for (const std::string& id : Ids()) {
    if (auto record = Read(id)) records.push_back(std::move(*record));
  }
  std::ranges::sort(records, {}, [](const ContainerRecord& each) { return std::tie(each.created, each.id); });
  return records;
}

ContainerRecord Store::Find(std::string_view reference) const {
  const std::string wanted(reference.substr(reference.starts_with('/') ? 1 : 0));
  if (IsId(wanted)) {
    if (auto record = Read(wanted)) return *record;
  }
  if (IsContainerName(wanted)) {
    std::array<char, kIdDigits + 1> target{};
    const std::string link = root_ + "/names/" + wanted;
    const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
    if (length < 0 && errno != ENOENT) throw SysError(errno, "read " + link);
    const std::string id(target.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    Check(id.empty() || IsId(id), "a name that means an id");
    const auto named = id.empty() ? std::nullopt : Read(id);
    if (named && named->name == wanted) return *named;
  }
  Check(IsHex(wanted) && !wanted.empty(), "no such container");
  std::vector<ContainerRecord> found;
  for (const std::string& id : Ids()) {
    if (!id.starts_with(wanted)) continue;
    if (auto record = Read(id)) found.push_back(std::move(*record));
  }
  Check(found.size() == 1, "one container of that id");
  return found.front();
}

ContainerState Store::StateOf(const ContainerRecord& record) const {
  static constexpr const char* kKilledExitCode = "137";
  std::string before;
  while (true) {
    const std::string text = ReadIfThere(record.folder + "/status.json", kMaxJsonBytes);
    if (text.empty()) return {};
    const Json status = ParseJson(text);
    Check(status.type == Json::Type::kObject, "a status");
    ContainerState state{.status = StatusOf(TextOf(status, "phase")),
                         .pid = WholeNumberOf(status, "pid"),
                         .exit_code = WholeNumberOf(status, "exitCode"),
                         .started_at = TextOf(status, "startedAt"),
                         .finished_at = TextOf(status, "finishedAt"),
                         .health = {}};
    if (const Json* health = status.Find("health")) {
      Check(health->type == Json::Type::kObject, "a health");
      state.health = TextOf(*health, "status");
    }
    if (state.status == ContainerState::Status::kExited || Lives(status)) return state;
    if (text == before) {  // its monitor was killed, and the container with it
      if (state.status == ContainerState::Status::kCreated) state = {};
      state.needs_recovery = true;
      if (state.status == ContainerState::Status::kCreated) return state;
      state.status = ContainerState::Status::kExited;
      state.exit_code = kKilledExitCode;
      return state;
    }
    before = text;  // it may have written its last word, and ended, between our two looks
  }
}

std::vector<std::string> Store::Leftovers(Held held) const {
  std::vector<std::string> names = Names();
  std::erase_if(names, [&](const std::string& name) { return !IsLeft(name, held); });
  return names;
}

bool Store::IsLeft(const std::string& name, Held held) const {
  using enum ContainerState::Status;
  static constexpr std::string_view kRemoved = ".removed-";
  const bool is_removed = name.starts_with(kRemoved);
  const std::string id = is_removed ? name.substr(kRemoved.size()) : name;
  Check(IsId(id), "something in the folder of containers");
  const auto nobody_has_it = [&] { return Lock::Try(root_, "container " + id, Lock::Mode::kAlone).has_value(); };
  if (is_removed) return nobody_has_it();
  ContainerRecord place;
  place.folder = FolderOf(id);
  const ContainerState state = StateOf(place);
  if (state.IsAlive() && state.status != kPaused) return false;
  if (state.status == kPaused) return ::access((place.folder + "/paused-for-now").c_str(), F_OK) == 0;
  const auto record = Read(id);
  if (!record || state.needs_recovery) return nobody_has_it();
  return state.status == kExited && record->GoesWhenItEnds() && (held == Held::kToo || nobody_has_it());
}

}  // namespace gantry
