// What the store knows of containers, as client/containers/ reads it: records, and what monitors have written down
// last.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/json.h"

namespace gantry {

/// So much of an id is shown.
inline constexpr std::size_t kShortId = 12;

/// A record (client/containers/record.ts), of which all has been checked that is checked there.
struct ContainerRecord {
  std::string folder;
  std::string id;
  std::string name;
  std::string created;
  std::string image;
  Json process;
  Json request;
  bool has_anonymous_volumes = false;

  /// --rm
  bool GoesWhenItEnds() const;
};

/// client/containers/state.ts
struct ContainerState {
  enum class Status { kCreated, kRunning, kPaused, kRestarting, kExited };

  Status status = Status::kCreated;
  std::string pid;        // digits; 0: it has none
  std::string exit_code;  // digits
  std::string started_at;
  std::string finished_at;
  std::string health;  // empty: none is looked after
  bool needs_recovery = false;

  bool IsAlive() const;
};

/// Everything here throws an exception where it cannot say what Node would.
class Store {
 public:
  /// `said`: --root, or empty.
  explicit Store(const std::string& said);

  /// The newest last.
  std::vector<ContainerRecord> List() const;
  /// By id, by name, or by the beginning of an id.
  ContainerRecord Find(std::string_view reference) const;
  ContainerState StateOf(const ContainerRecord& record) const;
  /// The names of folders that a killed command, or monitor, left, or a container that was to go when it ends, and
  /// which the next command takes down first (`Containers.cleanUp` of client/containers/containers.ts).
  /// `held`: whether those count too that were to go, and that somebody holds who has just seen them end.
  enum class Held { kNot, kToo };
  std::vector<std::string> Leftovers(Held held = Held::kNot) const;

  /// Nothing if there is no container of that id. Throws an exception for a record that is none.
  std::optional<ContainerRecord> Read(const std::string& id) const;
  const std::string& root() const { return root_; }
  std::string FolderOf(const std::string& id) const { return root_ + "/containers/" + id; }

 private:
  bool IsLeft(const std::string& name, Held held) const;
  std::vector<std::string> Names() const;
  std::vector<std::string> Ids() const;

  std::string root_;
};

/// Where the runtime keeps what it knows of running containers.
std::string StateRoot();
/// Docker's alphabet of containers' names.
bool IsContainerName(std::string_view text);
/// Empty if it is not set.
std::string Variable(const char* name);
/// A member that has to be there and a text.
const std::string& TextOf(const Json& object, std::string_view name);
/// A member, or nullptr where it is absent or null.
const Json* FindSome(const Json& object, std::string_view name);

}  // namespace gantry
