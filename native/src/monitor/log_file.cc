#include "monitor/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "monitor/json_text.h"
#include "runtime/report.h"
#include "runtime/state.h"

namespace gantry {
namespace {

constexpr std::size_t kLongestLine = 16 * 1024;
constexpr std::size_t kBatch = 64 * 1024;

/// How much of a line that is too long goes into this entry: never half of a character.
std::size_t CutLength(std::string_view line) {
  std::size_t cut = kLongestLine;
  for (int back = 0; back < 3 && cut > 0 && (static_cast<unsigned char>(line[cut]) & 0xc0) == 0x80; ++back) --cut;
  return (static_cast<unsigned char>(line[cut]) & 0xc0) == 0x80 ? kLongestLine : cut;
}

}  // namespace

void LogFile::Write(Stream stream, std::string_view bytes) {
  if (plan_.driver == LogPlan::Driver::kNone) return;
  if (plan_.driver == LogPlan::Driver::kPlain) {
    batch_.append(bytes);
    return Flush();
  }
  time_ = Rfc3339Now();
  std::string& unfinished = unfinished_[static_cast<int>(stream)];
  if (!unfinished.empty()) {
    unfinished.append(bytes);
    bytes = unfinished;
  }
  while (!bytes.empty()) {
    const std::size_t line_end = bytes.substr(0, kLongestLine).find('\n');
    if (line_end == std::string_view::npos && bytes.size() <= kLongestLine) break;
    const std::size_t length = line_end == std::string_view::npos ? CutLength(bytes) : line_end + 1;
    Entry(stream, bytes.substr(0, length));
    bytes.remove_prefix(length);
  }
  unfinished = std::string(bytes);
  Flush();
}

void LogFile::End() {
  time_ = Rfc3339Now();
  for (const Stream stream : {Stream::kOutput, Stream::kErrors}) {
    std::string& unfinished = unfinished_[static_cast<int>(stream)];
    if (!unfinished.empty()) Entry(stream, unfinished);
    unfinished.clear();
    unfinished.shrink_to_fit();
  }
  Flush();
  file_ = UniqueFd();  // opened anew if the container starts again
  batch_.shrink_to_fit();
}

void LogFile::Entry(Stream stream, std::string_view line) {
  const bool full =
      plan_.max_size_bytes > 0 && size_bytes_ + static_cast<std::int64_t>(batch_.size()) >= plan_.max_size_bytes;
  if (full || batch_.size() >= kBatch) Flush();
  batch_ += "{\"log\":\"";
  AppendJsonText(batch_, line);
  batch_ += stream == Stream::kOutput ? "\",\"stream\":\"stdout\",\"time\":\"" : "\",\"stream\":\"stderr\",\"time\":\"";
  batch_ += time_;
  batch_ += "\"}\n";
}

void LogFile::Flush() {
  if (batch_.empty()) return;
  if (file_.get() < 0) Open();
  if (plan_.max_size_bytes > 0 && size_bytes_ >= plan_.max_size_bytes) Rotate();
  std::size_t written = 0;
  while (file_.get() >= 0 && written < batch_.size()) {
    const ssize_t put = ::write(file_.get(), batch_.data() + written, batch_.size() - written);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      // A line that was cut would spoil the next one too.
      const int error = errno;
      if (written > 0 && ::ftruncate(file_.get(), size_bytes_) == 0) written = 0;
      errno = error;
      break;
    }
    written += static_cast<std::size_t>(put);
  }
  if (written < batch_.size()) Lose(batch_.size() - written, "write the log");
  size_bytes_ += static_cast<std::int64_t>(written);
  batch_.clear();
}

void LogFile::Open() {
  file_ = UniqueFd(::openat(folder_, kLogFile, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640));
  struct stat status{};
  size_bytes_ = file_.get() >= 0 && ::fstat(file_.get(), &status) == 0 ? status.st_size : 0;
  char last = '\n';
  if (size_bytes_ > 0 && ::pread(file_.get(), &last, 1, size_bytes_ - 1) == 1 && last != '\n') {
    batch_.insert(0, 1, '\n');  // whoever wrote before us was killed in the middle of a line
  }
}

/// Readers see it by the file's being another one. Whoever is killed in between has lost no entry.
void LogFile::Rotate() {
  const auto name = [](int number) {
    return number == 0 ? std::string(kLogFile) : std::string(kLogFile) + "." + std::to_string(number);
  };
  for (int number = plan_.max_files - 1; number > 0; --number) {
    if (::renameat(folder_, name(number - 1).c_str(), folder_, name(number).c_str()) != 0 && errno != ENOENT) {
      return Lose(0, "rotate the log");  // it goes on growing
    }
  }
  if (plan_.max_files == 1) ::unlinkat(folder_, kLogFile, 0);
  Open();
}

void LogFile::Lose(std::uint64_t bytes, const char* doing) {
  lost_bytes_ += bytes;
  error_ = std::string(doing) + ": " + ErrorText(errno);
}

}  // namespace gantry
