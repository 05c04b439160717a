// What passes through a monitor's control socket, both ways: a stream of frames, each with its payload's length (32
// bits, the lowest byte first), its type (one byte), its payload. native/monitor-socket.ts has the same numbers.
//
// A request is an object {"id": N, "do": WORD, …}; its reply has the same id, and "status" or "error". The words:
//   start                            for who started the monitor: create and start the container; answered once it runs
//   status
//   subscribe                        from now on the status is sent at each change
//   attach {input, whenSlow}         output comes from now on; input: what is sent is the container's standard input;
//                                    whenSlow: "skip" or "wait", what becomes of output that this client does not take
//   detach
//   resize {columns, rows}
//   signal {signal, noRestart}
//   stop {signal?, timeoutMs?}       answered once it has ended
//   pause, resume
//   restartPolicy {policy, maximumRetries}
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gantry {

struct Frame {
  enum Type : std::uint8_t {
    kRequest = 1,   // to the monitor: a JSON object
    kInput = 2,     // for the container's standard input
    kInputEnd = 3,  // which ends here, empty
    kReply = 16,    // to a client: a JSON object
    kOutput = 17,   // what the container wrote to its standard output, or its terminal
    kErrors = 18,   // and to its standard error
    kStatus = 19,   // the status, as in status.json, for who has subscribed
    kMissed = 20,   // how many bytes of output are missing here, as decimal digits
  };
  Type type;
  std::string payload;
};

/// Somebody says what nobody would: he is not one of ours.
struct ProtocolError {};

inline constexpr std::size_t kFrameHeaderBytes = 5;
inline constexpr std::size_t kMaxFrameBytes = 64 * 1024;  // of payload, to the monitor

/// Appends one frame.
inline void AppendFrame(std::string& out, Frame::Type type, std::string_view payload) {
  const auto length = static_cast<std::uint32_t>(payload.size());
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(length >> shift & 0xff);
  out += static_cast<char>(type);
  out.append(payload);
}

inline std::uint32_t FrameLength(std::string_view header) {
  std::uint32_t length = 0;
  for (int i = 3; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(header[static_cast<std::size_t>(i)]);
  return length;
}

/// The next whole frame of what has arrived from `taken` on, which is moved behind it. Throws ProtocolError for one
/// with more than `most_bytes` of payload.
inline std::optional<Frame> TakeFrame(std::string_view incoming, std::size_t& taken, std::size_t most_bytes) {
  const std::string_view rest = incoming.substr(taken);
  if (rest.size() < kFrameHeaderBytes) return std::nullopt;
  const std::size_t length = FrameLength(rest);
  if (length > most_bytes) throw ProtocolError();
  if (rest.size() < kFrameHeaderBytes + length) return std::nullopt;
  taken += kFrameHeaderBytes + length;
  return Frame{static_cast<Frame::Type>(rest[4]), std::string(rest.substr(kFrameHeaderBytes, length))};
}

}  // namespace gantry
