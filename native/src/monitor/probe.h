// One health check: a process of ours that runs a command in the container, and ends as the command did. It goes, and
// the command with it, when this object does.
#pragma once

#include <string>
#include <vector>

#include "core/sys.h"

namespace gantry {

class Probe {
 public:
  /// Throws SysError.
  Probe(const std::string& state_root, const std::string& id, const std::vector<std::string>& command);
  ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  /// Readable when it has ended.
  int pidfd() const { return pidfd_.get(); }
  /// Readable when it has said something; -1: it says nothing more.
  int output() const { return output_.get(); }
  void Listen();
  /// The command's exit code; -1: it could not be run.
  int Wait();
  /// The beginning of what it said, 4096 bytes.
  const std::string& said() const { return said_; }

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd output_;
  std::string said_;
  bool reaped_ = false;
};

}  // namespace gantry
