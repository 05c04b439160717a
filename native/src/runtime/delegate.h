// A helper of the helper, for one container whose hooks may take their time: nobody else has to wait for them.
#pragma once

#include <sys/types.h>

#include <string>

#include "core/sys.h"
#include "runtime/protocol.h"

namespace gantry {

class Delegate {
 public:
  /// Starts it. Throws SysError.
  explicit Delegate(const std::string& state_root);
  /// Ends it, with its container, and waits until both are gone.
  ~Delegate();
  Delegate(const Delegate&) = delete;
  Delegate& operator=(const Delegate&) = delete;

  int socket() const { return socket_.get(); }
  /// Passes a message on, with its descriptors. Nothing happens if it is gone: its socket tells.
  void Pass(const Message& message) const;

  /// It and its container are killed, whatever it does; its socket tells.
  void Kill() const;

  bool is_detached = false;
  bool has_begun = false;  // its container runs, or is created: until then hooks may keep it from listening

 private:
  UniqueFd socket_;
  pid_t pid_ = -1;
};

}  // namespace gantry
