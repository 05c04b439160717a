#include "layer/zstd.h"

#include <dlfcn.h>

#include <cstddef>
#include <string>

#include "layer/inflate.h"

namespace gantry {
namespace {

/// As zstd.h has them, in its stable part.
struct InBuffer {
  const void* bytes;
  std::size_t size;
  std::size_t position;
};
struct OutBuffer {
  void* bytes;
  std::size_t size;
  std::size_t position;
};

template <typename Function>
Function* Find(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

struct Library {
  void* (*create)() = Find<void*()>("ZSTD_createDCtx");
  std::size_t (*free)(void*) = Find<std::size_t(void*)>("ZSTD_freeDCtx");
  std::size_t (*decompress)(void*, OutBuffer*,
                            InBuffer*) = Find<std::size_t(void*, OutBuffer*, InBuffer*)>("ZSTD_decompressStream");
  unsigned (*is_error)(std::size_t) = Find<unsigned(std::size_t)>("ZSTD_isError");
  const char* (*error_name)(std::size_t) = Find<const char*(std::size_t)>("ZSTD_getErrorName");

  bool IsWhole() const { return create && free && decompress && is_error && error_name; }
};

const Library& Node() {
  static const Library library;
  return library;
}

}  // namespace

bool Zstd::IsThere() { return Node().IsWhole(); }

Zstd::Zstd() : context_(IsThere() ? Node().create() : nullptr) {
  if (context_ == nullptr) throw DecodeError("there is no decoder of zstd");
}

Zstd::~Zstd() { Node().free(context_); }

bool Zstd::Decode(const std::uint8_t*& in, const std::uint8_t* in_end, std::uint8_t*& out, std::uint8_t* out_end) {
  OutBuffer to = {out, static_cast<std::size_t>(out_end - out), 0};
  InBuffer from = {in, static_cast<std::size_t>(in_end - in), 0};
  do {
    const std::size_t hint = Node().decompress(context_, &to, &from);
    if (Node().is_error(hint)) {
      const std::string problem = Node().error_name(hint);
      throw DecodeError(is_between_frames_ ? "not a zstd frame where one should begin: " + problem
                                           : "the zstd data is damaged: " + problem);
    }
    is_between_frames_ = hint == 0;  // asked again without input, it would begin a frame that need not come
  } while (to.position < to.size && from.position < from.size);
  in += from.position;
  out += to.position;
  return out == out_end && !is_between_frames_;
}

void Zstd::Finish() const {
  if (!is_between_frames_) throw DecodeError("the zstd data is truncated");
}

}  // namespace gantry
