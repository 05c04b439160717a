#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "core/sys.h"
#include "launcher/store.h"
#include "launcher/unclear.h"
#include "launcher/verbs.h"
#include "runtime/json.h"

namespace gantry {
namespace {

/// All is read before anything is printed. Who has more to show has other things to wait for than Node.
constexpr std::size_t kMostBytes = 16U << 20;
constexpr std::size_t kBlock = 64 * 1024;
constexpr const char* kLogFile = "container.log";

struct OpenFile {
  UniqueFd fd;
  ino_t inode;
  std::size_t size;
};

std::string NameOf(const std::string& folder, int number) {
  return folder + "/" + kLogFile + (number == 0 ? "" : "." + std::to_string(number));
}

/// The newest first. Throws Unclear if they are rotated meanwhile.
std::vector<OpenFile> OpenFiles(const std::string& folder) {
  std::vector<OpenFile> files;
  int missing = 0;
  for (int number = 0; missing < 2; ++number) {  // while they are renamed, one number may be free
    const std::string name = NameOf(folder, number);
    UniqueFd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0 && errno != ENOENT) throw SysError(errno, "open " + name);
    if (fd.get() < 0) {
      ++missing;
      continue;
    }
    if (missing > 0) throw Unclear("a gap");
    struct stat status{};
    checked("look at a log", [&] { return ::fstat(fd.get(), &status); });
    files.push_back({std::move(fd), status.st_ino, static_cast<std::size_t>(status.st_size)});
  }
  return files;
}

bool IsNewest(const std::string& folder, const std::vector<OpenFile>& files) {
  struct stat status{};
  const bool is_there = ::stat(NameOf(folder, 0).c_str(), &status) == 0;
  return files.empty() ? !is_there : is_there && status.st_ino == files.front().inode;
}

std::string ReadRange(const OpenFile& file, std::size_t from, std::size_t to) {
  std::string bytes(to - from, '\0');
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t got = checked("read a log", [&] {
      return ::pread(file.fd.get(), bytes.data() + at, bytes.size() - at, static_cast<off_t>(from + at));
    });
    if (got == 0) throw Unclear("a log that became shorter");
    at += static_cast<std::size_t>(got);
  }
  return bytes;
}

/// The text of the files, the oldest first, or of their last lines.
std::string Collect(const std::vector<OpenFile>& files, std::optional<std::size_t> tail) {
  std::string text;
  std::size_t left = tail ? *tail + 1 : std::numeric_limits<std::size_t>::max();  // the end of the line before them
  for (const OpenFile& file : files) {
    std::string lines;
    for (std::size_t end = file.size; end > 0;) {
      const std::size_t start = tail ? end - std::min(end, kBlock) : 0;
      if (text.size() + lines.size() + (end - start) > kMostBytes) throw Unclear("a large log");
      lines.insert(0, ReadRange(file, start, end));
      for (std::size_t at = end - start; at-- > 0;) {
        if (lines[at] == '\n' && --left == 0) return lines.substr(at + 1) + text;
      }
      end = start;
    }
    if (!lines.empty() && !lines.ends_with('\n') && !text.empty()) throw Unclear("a line that was cut off");
    text.insert(0, lines);
  }
  return text;
}

Piece PieceOf(std::string_view line, bool begins, bool timestamps) {
  const Json entry = ParseJson(line);
  if (entry.type != Json::Type::kObject) throw Unclear("an entry");
  const std::string& stream = TextOf(entry, "stream");
  if (stream != "stdout" && stream != "stderr") throw Unclear("a stream");
  const std::string& time = TextOf(entry, "time");
  return {stream == "stderr" ? STDERR_FILENO : STDOUT_FILENO,
          (timestamps && begins ? time + " " : "") + TextOf(entry, "log")};
}

}  // namespace

std::vector<Piece> LogPieces(const Asked& asked) {
  const Store store(asked.root);
  const ContainerRecord record = store.Find(asked.container);
  if (const Json* log = FindSome(record.request, "log")) {
    if (log->type != Json::Type::kObject || TextOf(*log, "driver") != "json-file") throw Unclear("a driver");
  }
  std::vector<Piece> pieces;
  if (store.StateOf(record).status == ContainerState::Status::kCreated) return pieces;
  const std::vector<OpenFile> files = OpenFiles(record.folder);
  const std::string text = Collect(files, asked.tail);
  if (!IsNewest(record.folder, files)) throw Unclear("a log that is being rotated");
  bool begins = true;
  std::string_view rest = text;
  for (std::size_t end = 0; (end = rest.find('\n')) != rest.npos; rest.remove_prefix(end + 1)) {
    Piece piece = PieceOf(rest.substr(0, end), begins, asked.timestamps);
    begins = piece.text.ends_with('\n');
    if (pieces.empty() || pieces.back().descriptor != piece.descriptor) {
      pieces.push_back(std::move(piece));
    } else {
      pieces.back().text += piece.text;
    }
  }
  return pieces;
}

}  // namespace gantry
