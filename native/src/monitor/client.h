// Somebody who is connected to the monitor. Nothing that one does, or does not do, holds up the others: its socket
// never blocks, and what is kept for it is bounded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/sys.h"
#include "monitor/frame.h"

namespace gantry {

class Client {
 public:
  /// What becomes of output that it does not take.
  enum class Output { kNone, kSkip, kWait };

  /// Throws SysError.
  explicit Client(UniqueFd socket);

  int fd() const { return socket_.get(); }
  /// Events of poll(2) that it wants.
  short Interest() const;
  /// False when it is gone.
  bool Receive();
  bool Send();
  /// Reads what has arrived, for nobody. False when it is gone.
  bool Discard();
  /// Nothing more is sent.
  void Conclude();

  /// The next whole frame that has arrived. Throws ProtocolError.
  std::optional<Frame> Next();
  /// One that could not be dealt with now: it comes again with Next.
  void PutBack(Frame frame) { put_back_ = std::move(frame); }

  void Say(Frame::Type type, std::string_view payload);
  /// Output for it, unless it is behind and wants it skipped then.
  void Pass(Frame::Type stream, std::string_view bytes);
  /// Nothing more comes: it is told what it has missed.
  void TellMissed();
  /// Whether the container has to wait for it.
  bool HoldsOutput() const { return output == Output::kWait && IsBehind(); }
  bool HasPending() const { return !outgoing_.empty(); }

  Output output = Output::kNone;
  bool has_input = false;                // it is (one of) the container's standard input
  bool subscribed = false;               // to the status
  std::vector<std::int64_t> awaits_end;  // ids of its `stop`s, which are answered at the end

 private:
  bool IsBehind() const;

  UniqueFd socket_;
  std::string incoming_;
  std::size_t taken_ = 0;  // of it
  std::optional<Frame> put_back_;
  std::string outgoing_;
  std::size_t sent_ = 0;  // of it
  std::uint64_t missed_bytes_ = 0;
};

}  // namespace gantry
