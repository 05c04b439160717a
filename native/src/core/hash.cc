#include "core/hash.h"

#include <algorithm>
#include <stdexcept>

namespace gantry {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 10;

template <typename Word>
void AppendBigEndian(std::vector<std::uint8_t>& out, Word word) {
  for (int shift = 8 * (static_cast<int>(sizeof word) - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<std::uint8_t>(word >> shift));
  }
}

template <typename Word>
Word TakeBigEndian(std::span<const std::uint8_t>& in) {
  Word word = 0;
  for (std::size_t i = 0; i < sizeof word; ++i) word = static_cast<Word>(word << 8 | in[i]);
  in = in.subspan(sizeof word);
  return word;
}

std::variant<Sha256State, Sha512State> Initial(HashAlgorithm algorithm) {
  if (algorithm == HashAlgorithm::kSha256) return kSha256Initial;
  return kSha512Initial;
}

}  // namespace

Hash::Hash(HashAlgorithm algorithm, bool portable)
    : algorithm_(algorithm), portable_(portable), state_(Initial(algorithm)) {}

Hash Hash::Import(std::span<const std::uint8_t> in) {
  if (in.size() < kHeaderBytes) throw std::invalid_argument("the state of a hash is longer than this");
  if (in[0] != kVersion) throw std::invalid_argument("the state of a hash has another version");
  if (in[1] != 1 && in[1] != 2) throw std::invalid_argument("the state is of no algorithm that is known");
  Hash hash(static_cast<HashAlgorithm>(in[1]));
  in = in.subspan(2);
  hash.bytes_hashed_ = TakeBigEndian<std::uint64_t>(in);
  const std::size_t pending = hash.bytes_hashed_ % hash.block_bytes();
  const std::size_t words_bytes = hash.block_bytes() / 2;  // eight words: half a block, for both algorithms
  if (in.size() != words_bytes + pending) {
    throw std::invalid_argument("the state of a hash has another length than its count asks for");
  }
  std::visit(
      [&in](auto& words) {
        for (auto& word : words) word = TakeBigEndian<std::remove_reference_t<decltype(word)>>(in);
      },
      hash.state_);
  hash.pending_.assign(in.begin(), in.end());
  return hash;
}

std::size_t Hash::block_bytes() const noexcept {
  return algorithm_ == HashAlgorithm::kSha256 ? kSha256BlockBytes : kSha512BlockBytes;
}

void Hash::Compress(const std::uint8_t* data, std::size_t blocks) noexcept {
  if (auto* words = std::get_if<Sha256State>(&state_)) {
    Sha256Compress(*words, data, blocks, portable_);
  } else {
    Sha512Compress(*std::get_if<Sha512State>(&state_), data, blocks);
  }
}

std::span<const std::uint8_t> Hash::Complete(std::span<const std::uint8_t> data) {
  if (pending_.empty()) return data;
  const std::size_t block = block_bytes();
  const std::size_t taken = std::min(block - pending_.size(), data.size());
  pending_.insert(pending_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(taken));
  bytes_hashed_ += taken;
  if (pending_.size() == block) {
    Compress(pending_.data(), 1);
    pending_.clear();
  }
  return data.subspan(taken);
}

void Hash::Update(std::span<const std::uint8_t> data) {
  data = Complete(data);
  if (data.empty()) return;
  const std::size_t block = block_bytes();
  const std::size_t blocks = data.size() / block;
  Compress(data.data(), blocks);
  bytes_hashed_ += data.size();
  data = data.subspan(blocks * block);
  pending_.assign(data.begin(), data.end());
}

void Hash::UpdateBoth(Hash& one, std::span<const std::uint8_t> data, Hash& other,
                      std::span<const std::uint8_t> other_data) {
  auto* state = std::get_if<Sha256State>(&one.state_);
  auto* other_state = std::get_if<Sha256State>(&other.state_);
  if (state != nullptr && other_state != nullptr && !one.portable_ && !other.portable_) {
    data = one.Complete(data);
    other_data = other.Complete(other_data);
    const std::size_t blocks = std::min(data.size(), other_data.size()) / kSha256BlockBytes;
    const std::size_t bytes = blocks * kSha256BlockBytes;
    Sha256CompressBoth(*state, data.data(), *other_state, other_data.data(), blocks);
    one.bytes_hashed_ += bytes;
    other.bytes_hashed_ += bytes;
    data = data.subspan(bytes);
    other_data = other_data.subspan(bytes);
  }
  one.Update(data);
  other.Update(other_data);
}

std::vector<std::uint8_t> Hash::Export() const {
  std::vector<std::uint8_t> out = {kVersion, static_cast<std::uint8_t>(algorithm_)};
  AppendBigEndian(out, bytes_hashed_);
  std::visit(
      [&out](const auto& words) {
        for (const auto word : words) AppendBigEndian(out, word);
      },
      state_);
  out.insert(out.end(), pending_.begin(), pending_.end());
  return out;
}

std::string Hash::DigestHex() const {
  Hash last = *this;
  const std::size_t block = block_bytes();
  const std::size_t length_bytes = block / 8;
  std::vector<std::uint8_t> padding = {0x80};
  while ((pending_.size() + padding.size() + length_bytes) % block != 0) padding.push_back(0);
  // The length in bits, as 64 (SHA-256) or 128 bits, of which 67 can be other than zero.
  if (length_bytes == 16) AppendBigEndian(padding, bytes_hashed_ >> 61);
  AppendBigEndian(padding, bytes_hashed_ << 3);
  last.Update(padding);

  std::vector<std::uint8_t> digest;
  std::visit(
      [&digest](const auto& words) {
        for (const auto word : words) AppendBigEndian(digest, word);
      },
      last.state_);
  std::string hex;
  for (const std::uint8_t byte : digest) {
    hex.push_back("0123456789abcdef"[byte >> 4]);
    hex.push_back("0123456789abcdef"[byte & 15]);
  }
  return hex;
}

}  // namespace gantry
