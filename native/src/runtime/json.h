// A strict JSON reader for documents that come from outside.
// It promises: RFC 8259 and nothing more lenient, valid UTF-8, no duplicate keys, bounded size and depth,
// and an error that says where in the document (line and column) the trouble is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace gantry {

struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct JsonMember;

/// One value. Numbers keep their text, so that whoever reads them decides about range and never loses digits.
class Json {
 public:
  enum class Type { kNull, kBool, kNumber, kString, kArray, kObject };

  Type type = Type::kNull;
  bool boolean = false;
  std::string text;  // the string's value, or the number's digits
  std::vector<Json> items;
  std::vector<JsonMember> members;

  /// The member of that name, or nullptr. Objects here are small: a scan beats a map.
  const Json* Find(std::string_view name) const;
};

struct JsonMember {
  std::string name;
  Json value;
};

inline constexpr std::size_t kMaxJsonBytes = 4U << 20;
inline constexpr int kMaxJsonDepth = 64;

/// Reads one document. Throws JsonError.
Json ParseJson(std::string_view document);

/// `text` as a JSON string, quotes included.
std::string QuoteJson(std::string_view text);

/// The whole document, without spaces.
std::string WriteJson(const Json& value);

}  // namespace gantry
