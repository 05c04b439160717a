#include "runtime/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace gantry {

std::string ReadAll(int fd, std::size_t limit, const std::string& name) {
  std::string content;
  char buffer[16384];
  while (true) {
    const ssize_t got = checked(("read " + name).c_str(), [&] { return ::read(fd, buffer, sizeof buffer); });
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
    if (content.size() > limit) throw SysError(EFBIG, "read " + name);
  }
}

std::string ReadFile(const std::string& path, std::size_t limit) {
  const UniqueFd file(checked(("open " + path).c_str(), [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  return ReadAll(file.get(), limit, path);
}

void ReplaceFile(int directory, const std::string& name, std::string_view content, unsigned mode, bool durable) {
  const auto base = name.rfind('/') + 1;  // npos + 1 is 0
  const std::string temporary = name.substr(0, base) + "." + name.substr(base) + "." + std::to_string(::getpid());
  const std::string step = "write " + name;
  try {
    const UniqueFd file(checked(step.c_str(), [&] {
      return ::openat(directory, temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
    }));
    while (!content.empty()) {
      const ssize_t put = checked(step.c_str(), [&] { return ::write(file.get(), content.data(), content.size()); });
      content.remove_prefix(static_cast<std::size_t>(put));
    }
    if (durable) checked(step.c_str(), [&] { return ::fdatasync(file.get()); });
    checked(step.c_str(), [&] { return ::renameat(directory, temporary.c_str(), directory, name.c_str()); });
  } catch (const SysError&) {
    ::unlinkat(directory, temporary.c_str(), 0);
    throw;
  }
}

}  // namespace gantry
