#include "launcher/transfer/progress.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "runtime/print.h"

namespace gantry {
namespace {

using namespace std::chrono_literals;

constexpr auto kHeldBack = 5s;
constexpr std::size_t kShortDigest = 12;

}  // namespace

void TransferProgress::Say(std::string_view digest, std::string_view what) {
  const std::lock_guard<std::mutex> lock(mutex_);
  held_.append(digest.substr(digest.find(':') + 1, kShortDigest)).append(": ").append(what).append("\n");
  if (std::chrono::steady_clock::now() - begun_ < kHeldBack) return;
  PrintError(held_);
  held_.clear();
}

void TransferProgress::End() {
  PrintError(held_);
  held_.clear();
}

std::string PrintBytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1000 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  if (unit == 0) return std::to_string(bytes) + kUnits[unit];
  std::array<char, 32> text;
  // Halves go up, as with JavaScript's toPrecision, and not to the even digit.
  std::snprintf(text.data(), text.size(), "%.3g", std::nextafter(value, std::numeric_limits<double>::infinity()));
  std::snprintf(text.data(), text.size(), "%g", std::strtod(text.data(), nullptr));
  return text.data() + std::string(kUnits[unit]);
}

}  // namespace gantry
