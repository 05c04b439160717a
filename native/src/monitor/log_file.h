// A container's log: lines of JSON as docker's json-file driver writes them, or the bytes as they are; in files that
// are rotated. Whatever becomes of the disk, the container is not held up by it: what cannot be written is counted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/sys.h"

namespace gantry {

struct LogPlan {
  enum class Driver { kJsonFile, kPlain, kNone };
  Driver driver = Driver::kJsonFile;
  std::int64_t max_size_bytes = 0;  // a file that has reached it is set aside; 0: never
  int max_files = 1;                // all together, with the one that is written to
};

inline constexpr const char* kLogFile = "container.log";

class LogFile {
 public:
  enum class Stream { kOutput = 0, kErrors = 1 };

  /// Beside the descriptor of a folder, which is lent. Goes on with the file that is there.
  LogFile(int folder, LogPlan plan) : folder_(folder), plan_(plan) {}

  /// A line is written once it has ended, or is 16 KiB long: then it goes on in the next entry, as docker does it.
  void Write(Stream stream, std::string_view bytes);
  /// The lines that have not ended: nothing more comes.
  void End();

  /// What could not be written, and why, last.
  std::uint64_t lost_bytes() const { return lost_bytes_; }
  const std::string& error() const { return error_; }

 private:
  void Entry(Stream stream, std::string_view line);
  void Flush();
  void Open();
  void Rotate();
  void Lose(std::uint64_t bytes, const char* doing);

  int folder_;
  LogPlan plan_;
  UniqueFd file_;
  std::int64_t size_bytes_ = 0;
  std::string unfinished_[2];
  std::string time_;   // of what is being written
  std::string batch_;  // entries that go into the file with one call
  std::uint64_t lost_bytes_ = 0;
  std::string error_;
};

}  // namespace gantry
