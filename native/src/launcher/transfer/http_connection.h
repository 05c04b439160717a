// One connection to a registry, over which it is asked one thing after the other (RFC 9112). Answers are taken only as
// they are usually given: with a length, and with heads that no limit of Node's would refuse. Whatever else happens, or
// nothing for as long as Node would wait, is an exception, and the connection of no more use.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/sys.h"
#include "launcher/transfer/plain_host.h"
#include "launcher/transfer/stop.h"

namespace gantry {

struct Question {
  std::string_view method;
  std::string path;
  std::string headers = "";  // lines, each with its end
  std::optional<std::uint64_t> body_bytes = std::nullopt;
};

struct Answer {
  int status = 0;
  std::uint64_t body_bytes = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case

  /// Empty if it is not there. Throws Unclear if it is there twice.
  std::string Header(std::string_view name) const;
};

class HttpConnection {
 public:
  /// Both outlive it. It is opened when it is used.
  HttpConnection(const PlainHost& host, const Stop& stop) : host_(host), stop_(stop) {}

  const PlainHost& host() const { return host_; }

  /// All but the body, if there is one.
  void Ask(const Question& question);
  /// Of the body. Throws Unclear if it has to wait while the other side has answered already.
  void Send(std::span<const std::uint8_t> bytes) { SendAll(bytes, 0); }
  /// So much of the body, from the file; returns how much, which is 0 only at the file's end.
  std::size_t SendFile(int file, std::uint64_t offset, std::size_t most);

  /// The head of the answer. `method`: of the question, since HEAD has no bodies.
  Answer Await(std::string_view method);
  /// The next piece of the answer's body, which must not have ended.
  std::size_t Receive(std::span<std::uint8_t> into);
  /// All of it, for one of at most `limit_bytes`.
  std::string ReceiveAll(std::size_t limit_bytes);
  /// The same for an answer whose body nobody wants.
  Answer AwaitWithoutBody(std::string_view method);

 private:
  using Clock = std::chrono::steady_clock;

  void Open();
  bool CanBeUsedAgain();
  void SendAll(std::span<const std::uint8_t> bytes, int flags);
  void AwaitRoom();
  void AwaitEvents(short events, std::chrono::milliseconds patience);
  void Fill(Clock::time_point deadline);
  Answer ParseHead(std::string_view head, bool has_body);

  const PlainHost& host_;
  const Stop& stop_;
  UniqueFd socket_;
  bool is_in_use_ = false;        // a question without its answer, or an answer that was not wanted whole
  std::uint64_t left_bytes_ = 0;  // of the answer's body
  bool closes_ = false;
  Clock::time_point used_;
  static constexpr std::size_t kLongestHeadBytes = 16 * 1024;  // Node's
  std::array<char, kLongestHeadBytes> held_;                   // what has come with the head
  std::size_t held_from_ = 0;
  std::size_t held_to_ = 0;
};

}  // namespace gantry
