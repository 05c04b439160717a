// Fills files and gives them their attributes, on threads of its own: the larger part of unpacking, and it does not
// depend on the order of entries, since a file that is open is the same whatever becomes of its name.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/sys.h"
#include "layer/channel.h"
#include "layer/layer_files.h"

namespace gantry {

class FileFillers {
 public:
  class OpenFile;

  explicit FileFillers(unsigned threads);
  ~FileFillers();
  FileFillers(const FileFillers&) = delete;
  FileFillers& operator=(const FileFillers&) = delete;

  /// `size` is what it has at the end, holes included. All of these throw what a file before has met with.
  std::shared_ptr<OpenFile> Begin(UniqueFd fd, std::uint64_t size, Attributes attributes, std::string doing);
  /// `bytes` stay where they are as long as `memory` is held.
  void Write(const std::shared_ptr<OpenFile>& file, std::uint64_t offset, std::string_view bytes,
             std::shared_ptr<const void> memory);
  void End(const std::shared_ptr<OpenFile>& file);
  /// Until everything that was begun and ended is done.
  void Wait();
  /// Of its threads, when they are done.
  std::uint64_t cpu_nanoseconds() const noexcept { return cpu_nanoseconds_; }

 private:
  struct Piece {
    std::shared_ptr<OpenFile> file;
    std::uint64_t offset = 0;
    std::string_view bytes;
    std::shared_ptr<const void> memory;
  };

  void Loop();
  void Do(const Piece& piece);
  void LetGo(OpenFile& file);
  void Keep(std::exception_ptr failure);
  void ThrowFailure();

  Channel<Piece> pieces_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::size_t open_files_ = 0;
  std::exception_ptr failure_;
  std::atomic<bool> failed_ = false;
  std::atomic<std::uint64_t> cpu_nanoseconds_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace gantry
