// Terminals: opening one of a container's own devpts, handing it over, and relaying it to the caller's terminal.
#pragma once

#include <memory>
#include <string>

#include "core/sys.h"
#include "runtime/key_watch.h"

namespace gantry {

struct Console {
  UniqueFd master;
  UniqueFd peer;  // the container's end, opened through the master: no path is involved
};

/// A new pseudo-terminal of the devpts file system behind the descriptor. Throws SysError.
Console OpenConsole(int devpts);

/// Throws SysError.
void ResizeConsole(int master, unsigned short rows, unsigned short columns);

/// Takes over the size of our own terminal, if standard input is one.
void CopyConsoleSize(int master);

/// Sends the master to whoever listens on the socket (runc's protocol: its name and one descriptor). Throws SysError.
void SendConsole(const std::string& socket_path, int master);

/// Copies between our standard input and output and a container's terminal.
class ConsoleRelay {
 public:
  /// Puts our own terminal, if we have one, into raw mode until the relay ends. `leave_keys`: which let it be left.
  ConsoleRelay(int master, std::string leave_keys);
  ~ConsoleRelay();
  ConsoleRelay(const ConsoleRelay&) = delete;
  ConsoleRelay& operator=(const ConsoleRelay&) = delete;

  /// Our input has something to read, or ended.
  void FromInput();
  /// The container wrote something. False when its terminal is closed.
  bool FromContainer();
  /// Sends on what the container's terminal did not take before.
  void ToContainer();
  /// The keys were typed.
  bool is_to_be_left() const { return is_to_be_left_; }
  /// Nobody is here any more: our terminal is as it was, and nothing more is read from it.
  void Leave();
  bool wants_input() const { return !input_ended_ && pending_.empty(); }
  bool has_pending() const { return !pending_.empty(); }

 private:
  void GiveBack();

  int master_;
  KeyWatch leave_keys_;
  bool is_to_be_left_ = false;
  bool input_ended_ = false;
  std::string pending_;
  struct Saved;
  std::unique_ptr<Saved> saved_;  // our terminal's settings, if we have one
};

}  // namespace gantry
