// A container's standard input, output and errors, seen from outside: pipes, or a terminal.
#pragma once

#include <string>
#include <string_view>

#include "core/sys.h"
#include "monitor/monitor_plan.h"

namespace gantry {

class ContainerStdio {
 public:
  /// Pipes, unless there will be a terminal. Throws SysError.
  ContainerStdio(bool terminal, InputMode mode);

  /// What the container is given, until Started.
  int child_end(int stream) const { return child_ends_[stream].get(); }
  /// It has its ends; with a terminal, this is its master. Throws SysError.
  void Started(UniqueFd master);

  /// Descriptors to read from; -1: at its end. A terminal has all in the first.
  int output() const { return output_.get(); }
  int errors() const { return errors_.get(); }
  /// To be polled for writing; -1: nothing is waiting.
  int pending_input() const { return pending_input_.empty() ? -1 : input_.get(); }

  enum class Got { kBytes, kNothing, kEnd };
  /// Never waits. At the end, the descriptor is closed.
  Got ReadOutput(std::string& bytes) { return Read(output_, bytes); }
  Got ReadErrors(std::string& bytes) { return Read(errors_, bytes); }

  /// False when what came before has not been taken yet: try again. To who reads no longer, nothing is said.
  bool WriteInput(std::string_view bytes);
  void FlushInput();
  /// The end of it, once what is pending is taken; of a terminal there is none.
  void EndInput();

  /// Throws SysError.
  void Resize(unsigned short rows, unsigned short columns);

 private:
  static Got Read(UniqueFd& from, std::string& bytes);

  bool terminal_;
  UniqueFd child_ends_[3];
  UniqueFd input_;
  UniqueFd output_;
  UniqueFd errors_;
  UniqueFd peer_;  // the terminal's other end: while somebody has it, no reader of the master is told of an end
  std::string pending_input_;
  bool input_ends_ = false;
};

}  // namespace gantry
