#include "layer/file_fillers.h"

#include <fcntl.h>

#include "layer/stage_thread.h"

namespace gantry {
namespace {

/// Beyond this, who brings the pieces helps with them: no thread waits for another, and few files are open at once.
constexpr std::size_t kMostWaiting = 64;

/// Smaller files are better written many at once.
constexpr std::uint64_t kWriteBackBytes = 64 * 1024;

}  // namespace

class FileFillers::OpenFile {
 public:
  OpenFile(UniqueFd fd, std::uint64_t size, Attributes attributes, std::string doing)
      : fd_(std::move(fd)), size_(size), attributes_(std::move(attributes)), doing_(std::move(doing)) {}

  void Write(std::uint64_t offset, std::string_view bytes) const {
    WriteAt(fd_.get(), static_cast<off_t>(offset), bytes, doing_);
  }
  void Finish() {
    if (ends_with_hole) {
      checked(doing_.c_str(), [this] { return ::ftruncate(fd_.get(), static_cast<off_t>(size_)); });
    }
    SetAttributes(fd_.get(), attributes_, doing_);
    // The disk begins now, and has less left when all of the layer is made durable; a hint, so whatever it answers.
    if (size_ >= kWriteBackBytes) ::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
    fd_ = UniqueFd();
  }

  std::uint64_t size() const noexcept { return size_; }

  std::atomic<unsigned> holders = 1;  // pieces on their way, and who brings them
  std::uint64_t end = 0;              // of the last piece; the bringer's alone
  bool ends_with_hole = false;

 private:
  UniqueFd fd_;
  const std::uint64_t size_;
  const Attributes attributes_;
  const std::string doing_;
};

FileFillers::FileFillers(unsigned threads) {
  for (unsigned i = 0; i < threads; ++i) threads_.push_back(StartThread([this] { Loop(); }));
}

FileFillers::~FileFillers() {
  pieces_.Abandon();
  for (std::thread& thread : threads_) thread.join();
}

std::shared_ptr<FileFillers::OpenFile> FileFillers::Begin(UniqueFd fd, std::uint64_t size, Attributes attributes,
                                                          std::string doing) {
  ThrowFailure();
  auto file = std::make_shared<OpenFile>(std::move(fd), size, std::move(attributes), std::move(doing));
  const std::lock_guard<std::mutex> held(mutex_);
  ++open_files_;
  return file;
}

void FileFillers::Write(const std::shared_ptr<OpenFile>& file, std::uint64_t offset, std::string_view bytes,
                        std::shared_ptr<const void> memory) {
  ThrowFailure();
  file->end = offset + bytes.size();
  ++file->holders;
  Piece piece{file, offset, bytes, std::move(memory)};
  if (pieces_.size() < kMostWaiting) {
    pieces_.Push(std::move(piece));
  } else {
    Do(piece);
  }
}

void FileFillers::End(const std::shared_ptr<OpenFile>& file) {
  file->ends_with_hole = file->end < file->size();
  LetGo(*file);
}

void FileFillers::Wait() {
  std::unique_lock<std::mutex> held(mutex_);
  done_.wait(held, [this] { return open_files_ == 0; });
  held.unlock();
  ThrowFailure();
}

void FileFillers::Loop() {
  while (const auto piece = pieces_.Pop()) {
    const std::uint64_t before = CpuNanoseconds();
    Do(*piece);
    cpu_nanoseconds_ += CpuNanoseconds() - before;
  }
}

void FileFillers::Do(const Piece& piece) {
  try {
    if (!failed_) piece.file->Write(piece.offset, piece.bytes);
  } catch (...) {
    Keep(std::current_exception());
  }
  LetGo(*piece.file);
}

/// The last one gives the file its attributes: writing moves its time.
void FileFillers::LetGo(OpenFile& file) {
  if (--file.holders > 0) return;
  try {
    if (!failed_) file.Finish();
  } catch (...) {
    Keep(std::current_exception());
  }
  const std::lock_guard<std::mutex> held(mutex_);
  if (--open_files_ == 0) done_.notify_all();
}

void FileFillers::Keep(std::exception_ptr failure) {
  const std::lock_guard<std::mutex> held(mutex_);
  if (!failure_) failure_ = std::move(failure);
  failed_ = true;
}

void FileFillers::ThrowFailure() {
  if (!failed_) return;
  const std::lock_guard<std::mutex> held(mutex_);
  std::rethrow_exception(failure_);
}

}  // namespace gantry
