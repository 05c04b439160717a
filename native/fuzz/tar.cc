// The reader of tar: in one piece and in pieces it says the same, and what it says of a file fits into it.
#include <string>

#include "fuzz.h"
#include "layer/tar_reader.h"

namespace gantry::fuzz {
namespace {

class Listener : public TarSink {
 public:
  void Begin(TarEntry entry) override {
    Expect(!entry.path.empty() && entry.path.find('\0') == std::string::npos, "a name is one");
    heard += entry.path + "|" + entry.link + "|" + std::to_string(entry.size) + "\n";
    size_ = entry.size;
    at_ = 0;
  }
  void Content(std::uint64_t offset, std::string_view bytes) override {
    Expect(offset >= at_ && offset <= size_ && bytes.size() <= size_ - offset, "content is in order and in the file");
    at_ = offset + bytes.size();
    heard += bytes;
  }
  void End() override { heard += "end\n"; }

  std::string heard;

 private:
  std::uint64_t size_ = 0;
  std::uint64_t at_ = 0;
};

std::string Read(std::string_view archive, std::size_t piece) {
  Listener listener;
  TarReader reader(listener);
  try {
    for (std::size_t at = 0; at < archive.size(); at += piece) reader.Feed(archive.substr(at, piece));
    reader.Finish();
  } catch (const LayerError& error) {
    listener.heard += error.what();
  }
  return listener.heard;
}

/// Right checksums, so that what is behind them is reached.
std::string WithChecksums(std::string archive) {
  for (std::size_t at = 0; at + kTarBlockBytes <= archive.size(); at += kTarBlockBytes) {
    if (archive.compare(at + 257, 5, "ustar") != 0) continue;
    unsigned sum = 8 * ' ';
    for (std::size_t i = 0; i < kTarBlockBytes; ++i) {
      if (i < 148 || i >= 156) sum += static_cast<unsigned char>(archive[at + i]);
    }
    std::snprintf(archive.data() + at + 148, 8, "%06o", sum);
    archive[at + 155] = ' ';
  }
  return archive;
}

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gantry;
  const std::string archive = fuzz::WithChecksums(std::string(fuzz::Text(data, size)));
  const std::string whole = fuzz::Read(archive, archive.size() + 1);
  for (const std::size_t piece : {1, 100, 512})
    fuzz::Expect(fuzz::Read(archive, piece) == whole, "pieces change nothing");
  return 0;
}
