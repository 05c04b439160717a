// Reads a file of an image as if its root were ours: the kernel resolves every symbolic link inside it.
#include "addon/rooted_file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <napi.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstddef>
#include <string>
#include <vector>

#include "addon/errors.h"
#include "core/sys.h"

namespace gantry {
namespace {

/// readFileInRoot(root, path, limitBytes): a Buffer; undefined if there is no such file. Anything but a regular file is
/// an error.
Napi::Value ReadFileInRoot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string root_path = info[0].As<Napi::String>().Utf8Value();
  const std::string path = info[1].As<Napi::String>().Utf8Value();
  const std::size_t limit = info[2].As<Napi::Number>().Uint32Value();
  try {
    const UniqueFd root(
        checked("open the root", [&] { return ::open(root_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
    struct open_how how = {};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;  // a fifo must not make us wait
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    const int opened = static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how));
    if (opened < 0 && (errno == ENOENT || errno == ENOTDIR)) return env.Undefined();
    const std::string reading = "read " + path + " of the container";
    if (opened < 0) throw SysError(errno, reading);
    const UniqueFd file(opened);
    struct stat status = {};
    checked(reading.c_str(), [&] { return ::fstat(file.get(), &status); });
    if (!S_ISREG(status.st_mode)) throw SysError(EINVAL, reading + ", which is no regular file");
    std::vector<char> content;
    for (;;) {
      char chunk[65536];
      const auto count = checked(reading.c_str(), [&] { return ::read(file.get(), chunk, sizeof chunk); });
      if (count == 0) break;
      content.insert(content.end(), chunk, chunk + count);
      if (content.size() > limit) throw SysError(EFBIG, reading);
    }
    return Napi::Buffer<char>::Copy(env, content.data(), content.size());
  } catch (const SysError& error) {
    throw ToJs(env, error);
  }
}

}  // namespace
}  // namespace gantry

void InitRootedFile(Napi::Env env, Napi::Object exports) {
  exports.Set("readFileInRoot", Napi::Function::New(env, gantry::ReadFileInRoot, "readFileInRoot"));
}
