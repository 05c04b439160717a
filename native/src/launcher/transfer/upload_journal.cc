#include "launcher/transfer/upload_journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <exception>

#include "core/sys.h"
#include "launcher/random.h"
#include "launcher/store.h"
#include "launcher/transfer/manifest.h"
#include "launcher/unclear.h"

namespace gantry {
namespace {

constexpr std::size_t kUniqueBytes = 16;
constexpr mode_t kOwnFolder = 0700;
constexpr mode_t kOwnFile = 0600;

std::string StateFolder() {
  if (const std::string said = Variable("XDG_STATE_HOME"); !said.empty()) return said;
  const std::string home = Variable("HOME");
  if (home.empty()) throw Unclear("where the user's own folder is");
  return home + "/.local/state";
}

void MakeFolders(const std::string& path) {
  for (std::size_t end = 1; end != path.npos;) {
    end = path.find('/', end + 1);
    if (::mkdir(path.substr(0, end).c_str(), kOwnFolder) != 0 && errno != EEXIST) {
      throw SysError(errno, "make a folder");
    }
  }
}

}  // namespace

UploadJournal::UploadJournal() : folder_(StateFolder() + "/gantry/uploads") {}

std::string UploadJournal::PathOf(const std::string& key) const {
  return folder_ + "/" + DigestOf(key).substr(std::string_view("sha256:").size());
}

bool UploadJournal::Has(const std::string& key) const { return ::access(PathOf(key).c_str(), F_OK) == 0; }

void UploadJournal::Remember(const std::string& key, const std::string& location) const noexcept {
  try {
    MakeFolders(folder_);
    const std::string path = PathOf(key);
    const std::string temporary = path + ".tmp-" + RandomHex(kUniqueBytes);
    const std::string text = location + "\n" + key + "\n";
    const UniqueFd file(checked(
        "make a file", [&] { return ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kOwnFile); }));
    const bool is_whole = ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (!is_whole || ::rename(temporary.c_str(), path.c_str()) != 0) ::unlink(temporary.c_str());
  } catch (const std::exception&) {
    // See above.
  }
}

void UploadJournal::Forget(const std::string& key) const noexcept {
  try {
    ::unlink(PathOf(key).c_str());
  } catch (const std::exception&) {
    // No memory: whoever finds it asks the registry, which knows nothing of it any more.
  }
}

}  // namespace gantry
