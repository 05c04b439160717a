// What the fuzzers have in common. Each is one file of this folder with libFuzzer's LLVMFuzzerTestOneInput; the
// sanitizers find what must not happen to memory, Expect what must not happen to meaning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace gantry::fuzz {

inline void Expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

inline std::string_view Text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace gantry::fuzz
