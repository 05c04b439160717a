// A container that is being made from a recipe, and its end. In the same steps as client/containers/create.ts, start.ts
// and container.ts, and under the same locks, so that whoever is killed leaves what their commands know how to clear
// away.
#pragma once

#include <optional>
#include <string>

#include "launcher/lock.h"
#include "launcher/monitor_link.h"
#include "launcher/recipe.h"
#include "launcher/run_words.h"
#include "launcher/store.h"

namespace gantry {

class NewContainer {
 public:
  /// Its folder, its name, its monitor, its root filesystem, its record: all but its start. Throws an exception, and
  /// then nothing of it is left. `held`: the store's lock, from before its image was looked for until its record names
  /// the layers, so that nothing sweeps them meanwhile.
  NewContainer(const Store& store, const Recipe& recipe, const RunWords& run, Lock held);

  const std::string& id() const { return id_; }
  const std::string& folder() const { return folder_; }
  MonitorLink& monitor() { return *monitor_; }

  /// Others may do something with it from here on.
  void LetGo() { lock_.reset(); }
  /// The runtime has begun to make its processes.
  bool HasState() const;
  /// Nothing is left of it, whose program has never run. Throws SysError.
  void Undo();

 private:
  void Make(const RunWords& run);
  void ClaimName(const std::string& wanted);
  bool ClaimFree(const std::string& name);

  const Store& store_;
  const Recipe& recipe_;
  const std::string id_;
  const std::string folder_;
  std::string name_;  // once it is ours
  std::optional<Lock> lock_;
  std::optional<MonitorLink> monitor_;
};

}  // namespace gantry
