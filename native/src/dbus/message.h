// The wire format of D-Bus (D-Bus Specification, "Message Protocol"), as far as systemd's manager is asked by it. What
// arrives is bounded and checked: whoever holds the bus may send anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace gantry {

/// What arrived is no message of D-Bus, or one beyond our bounds.
struct DbusFormatError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The types that properties of units have: b, i, u, x, t, d, s, as, au, ay.
using DbusValue = std::variant<bool, std::int32_t, std::uint32_t, std::int64_t, std::uint64_t, double, std::string,
                               std::vector<std::string>, std::vector<std::uint32_t>, std::vector<std::uint8_t>>;

/// Appends values, each aligned to what its type asks for.
class DbusWriter {
 public:
  void Byte(std::uint8_t value) { bytes_.push_back(static_cast<char>(value)); }
  void Uint32(std::uint32_t value) { Fixed(value); }
  void String(std::string_view text);
  void Signature(std::string_view text);
  void Align(std::size_t size) { bytes_.resize((bytes_.size() + size - 1) / size * size); }
  void Value(const DbusValue& value);
  /// Its signature, and then itself.
  void Variant(const DbusValue& value);
  /// `fill` appends the elements, whose type is aligned to `alignment`.
  template <typename Fill>
  void Array(std::size_t alignment, const Fill& fill) {
    Fixed(std::uint32_t{0});
    const std::size_t length_at = bytes_.size() - sizeof(std::uint32_t);
    Align(alignment);
    const std::size_t start = bytes_.size();
    fill();
    SetLength(length_at, bytes_.size() - start);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  template <typename Number>
  void Fixed(Number value) {
    Align(sizeof value);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void SetLength(std::size_t at, std::size_t length);

  std::string bytes_;
};

/// Takes values from the front; each throws DbusFormatError where there is none such.
class DbusReader {
 public:
  explicit DbusReader(std::string_view bytes) : bytes_(bytes) {}
  bool AtEnd() const { return at_ == bytes_.size(); }
  std::uint8_t Byte();
  std::uint32_t Uint32();
  std::string String();
  std::string Signature();
  void Align(std::size_t size);
  std::string_view Take(std::size_t size);
  std::size_t at() const { return at_; }

 private:
  std::string Text(std::size_t length);

  std::string_view bytes_;
  std::size_t at_ = 0;
};

struct DbusMessage {
  enum Type : std::uint8_t { kCall = 1, kReturn = 2, kError = 3, kSignal = 4 };
  Type type = kCall;
  std::uint32_t serial = 0;
  std::uint32_t reply_serial = 0;  // 0: no reply
  std::string path = {};
  std::string interface = {};
  std::string member = {};
  std::string error_name = {};
  std::string destination = {};
  std::string signature = {};
  std::string body = {};
};

/// How much of a message says how long all of it is.
inline constexpr std::size_t kDbusPrefixBytes = 16;

/// From its first kDbusPrefixBytes. Throws DbusFormatError.
std::size_t DbusMessageSize(std::string_view prefix);
/// Of exactly one message. Throws DbusFormatError.
DbusMessage ParseDbusMessage(std::string_view bytes);
std::string PrintDbusMessage(const DbusMessage& message);

}  // namespace gantry
