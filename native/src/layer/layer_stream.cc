#include "layer/layer_stream.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace gantry {

LayerStream::LayerStream(int fd, Growth& growth, Compression compression, int cancelled, std::size_t read_bytes)
    : fd_(fd),
      growth_(growth),
      cancelled_(cancelled),
      compression_(compression),
      read_bytes_(read_bytes),
      buffer_(kGzipHeaderBytes + read_bytes),
      in_(buffer_.data()),
      in_end_(buffer_.data()) {
  if (compression_ == Compression::kZstd) zstd_.emplace();
}

std::size_t LayerStream::Read(std::uint8_t* into, std::size_t most) {
  most = static_cast<std::size_t>(std::min<std::uint64_t>(most, growth_.Beyond(bytes_read_) - bytes_read_));
  std::array<pollfd, 2> ready = {{{fd_, POLLIN, 0}, {cancelled_, POLLIN, 0}}};  // a descriptor of -1 is left out
  checked("wait for the layer's blob", [&] { return ::poll(ready.data(), ready.size(), -1); });
  if (ready[1].revents != 0) throw SysError(ECANCELED, "read the layer's blob");
  const auto count =
      static_cast<std::size_t>(checked("read the layer's blob", [&] { return ::read(fd_, into, most); }));
  bytes_read_ += count;
  return count;
}

std::uint8_t* LayerStream::Fill(std::uint8_t* out, std::uint8_t* out_end, const std::uint8_t* window) {
  if (compression_ == Compression::kNone) {
    while (out != out_end) {
      const std::size_t count = Read(out, static_cast<std::size_t>(out_end - out));
      if (count == 0) break;
      out += count;
    }
    return out;
  }
  if (zstd_) return FillFromZstd(out, out_end);
  while (!ended_ && !gzip_.Decode(in_, in_end_, out, out_end, window)) {
    const auto left = static_cast<std::size_t>(in_end_ - in_);
    std::memmove(buffer_.data(), in_, left);
    const std::size_t count = Read(buffer_.data() + left, read_bytes_);
    in_ = buffer_.data();
    in_end_ = in_ + left + count;
    if (count > 0) continue;
    gzip_.Finish(left);
    ended_ = true;
  }
  return out;
}

std::uint8_t* LayerStream::FillFromZstd(std::uint8_t* out, std::uint8_t* out_end) {
  while (!ended_ && out != out_end) {
    if (in_ == in_end_ && !has_more_) {
      in_ = buffer_.data();
      in_end_ = in_ + Read(buffer_.data(), read_bytes_);
      ended_ = in_ == in_end_;
      if (ended_) zstd_->Finish();
    }
    if (!ended_) has_more_ = zstd_->Decode(in_, in_end_, out, out_end);
  }
  return out;
}

}  // namespace gantry
