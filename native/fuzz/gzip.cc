// The reader of gzip: however input and room are cut, the same comes out. `inflate.test.ts` says that it is the right
// one.
#include "layer/gzip.h"

#include <algorithm>
#include <string>
#include <vector>

#include "fuzz.h"

namespace gantry::fuzz {
namespace {

constexpr std::size_t kMostBytes = 1 << 20;

/// With memory of the exact size, so that each byte beyond it is noticed.
std::string Read(const std::uint8_t* data, std::size_t size, std::size_t piece, std::size_t room) {
  std::string result;
  try {
    Gzip gzip;
    std::vector<std::uint8_t> in;
    for (std::size_t taken = 0; result.size() < kMostBytes;) {
      const std::size_t kept = std::min(result.size(), kInflateWindowBytes);
      std::vector<std::uint8_t> out(kept + room);
      std::copy(result.end() - static_cast<std::ptrdiff_t>(kept), result.end(), out.begin());
      const std::uint8_t* from = in.data();
      std::uint8_t* to = out.data() + kept;
      const bool wants_room = gzip.Decode(from, in.data() + in.size(), to, out.data() + out.size(), out.data());
      result.append(out.begin() + static_cast<std::ptrdiff_t>(kept), out.begin() + (to - out.data()));
      in.erase(in.begin(), in.begin() + (from - in.data()));
      if (wants_room) continue;
      const std::size_t count = std::min(piece, size - taken);
      if (count == 0) {
        gzip.Finish(in.size());
        break;
      }
      in.insert(in.end(), data + taken, data + taken + count);
      in.shrink_to_fit();
      taken += count;
    }
  } catch (const DecodeError&) {
    return "refused";
  }
  result.resize(std::min(result.size(), kMostBytes));
  return result;
}

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gantry;
  const std::string whole = fuzz::Read(data, size, size + 1, std::size_t{1} << 18);
  fuzz::Expect(fuzz::Read(data, size, 1, 4096) == whole, "pieces of input change nothing");
  fuzz::Expect(fuzz::Read(data, size, 997, 1000) == whole, "pieces of room change nothing");
  return 0;
}
