// Standard input, decompressed to standard output as a layer's blob would be: `decompress gzip|none READ_BYTES
// CHUNK_BYTES`. What is wrong is said on standard error, with exit status 1. `decompress checksums` says of each
// beginning of standard input its CRC-32 and its SHA-256, with the CPU's instructions, without, and two at once. Tests
// compare it with node:zlib and node:crypto, built with sanitizers.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/hash.h"
#include "layer/crc32.h"
#include "layer/layer_stream.h"

namespace {

std::string Sha256(std::span<const std::uint8_t> data, bool portable) {
  gantry::Hash hash(gantry::HashAlgorithm::kSha256, portable);
  hash.Update(data);
  return hash.DigestHex();
}

/// As one of two messages, which the other is not to change.
std::string Sha256Beside(std::span<const std::uint8_t> data, std::span<const std::uint8_t> other) {
  gantry::Hash first(gantry::HashAlgorithm::kSha256);
  gantry::Hash second(gantry::HashAlgorithm::kSha256);
  gantry::Hash::UpdateBoth(first, other, second, data);
  return second.DigestHex();
}

int PrintChecksums() {
  std::vector<std::uint8_t> input;
  for (int byte = std::getchar(); byte != EOF; byte = std::getchar()) input.push_back(static_cast<std::uint8_t>(byte));
  for (std::size_t size = 0; size <= input.size(); ++size) {
    const std::vector<std::uint8_t> data(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(size));
    std::printf("%u %u %s %s %s\n", gantry::Crc32(0, data), gantry::Crc32(0, data, true), Sha256(data, false).c_str(),
                Sha256(data, true).c_str(), Sha256Beside(data, input).c_str());
  }
  return std::fflush(stdout) == 0 ? 0 : 3;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "checksums") return PrintChecksums();
  if (argc != 4) return 2;
  const auto compression =
      std::string_view(argv[1]) == "gzip" ? gantry::Compression::kGzip : gantry::Compression::kNone;
  const std::size_t chunk_bytes = std::strtoul(argv[3], nullptr, 10);
  try {
    gantry::Growth growth(gantry::Growth::kWhole);
    gantry::LayerStream stream(STDIN_FILENO, growth, compression, -1, std::strtoul(argv[2], nullptr, 10));
    // Memory of the exact size, so that a sanitizer sees each byte beyond it.
    std::vector<std::uint8_t> before;
    for (;;) {
      const std::size_t kept = std::min(before.size(), gantry::kInflateWindowBytes);
      std::vector<std::uint8_t> chunk(kept + chunk_bytes);
      if (kept > 0) std::memcpy(chunk.data(), before.data() + before.size() - kept, kept);
      std::uint8_t* const begin = chunk.data() + kept;
      const std::uint8_t* const end = stream.Fill(begin, chunk.data() + chunk.size(), chunk.data());
      const auto count = static_cast<std::size_t>(end - begin);
      if (std::fwrite(begin, 1, count, stdout) != count) return 3;
      if (count < chunk_bytes) break;
      before = std::move(chunk);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return std::fflush(stdout) == 0 ? 0 : 3;
}
