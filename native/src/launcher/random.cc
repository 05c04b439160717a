#include "launcher/random.h"

#include <sys/random.h>

#include <vector>

#include "core/sys.h"

namespace gantry {
namespace {

/// At most 256 bytes come whole (getrandom(2)).
void Fill(void* place, std::size_t bytes) {
  checked("ask for random bytes", [&] { return ::getrandom(place, bytes, 0); });
}

}  // namespace

std::uint32_t RandomNumber() {
  std::uint32_t number = 0;
  Fill(&number, sizeof number);
  return number;
}

std::string RandomHex(std::size_t bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::vector<unsigned char> random(bytes);
  Fill(random.data(), bytes);
  std::string text;
  for (const unsigned char byte : random) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

}  // namespace gantry
