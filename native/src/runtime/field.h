// A property of config.json together with its path, so that every refusal can name it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/config_error.h"
#include "runtime/json.h"

namespace gantry {

class Field {
 public:
  Field(const Json* value, std::string path) : value_(value), path_(std::move(path)) {}

  /// null counts as absent: that is how Go writes a pointer that was not set.
  bool Present() const { return value_ != nullptr && value_->type != Json::Type::kNull; }
  /// Absent, or an empty string, array or object.
  bool Empty() const;
  const std::string& path() const { return path_; }

  /// A member; of an absent object every member is absent. Throws if this is no object.
  Field operator[](std::string_view name) const;
  std::vector<Field> Items() const;
  std::vector<std::pair<std::string, Field>> Members() const;
  std::string String() const;
  std::string StringOr(std::string fallback) const { return Present() ? String() : std::move(fallback); }
  std::vector<std::string> Strings() const;
  bool BoolOr(bool fallback) const;
  std::int64_t Integer(std::int64_t low, std::int64_t high) const;
  std::uint64_t Unsigned(std::uint64_t high) const;

  /// For what would change the container and is not done yet: absent or empty is fine.
  void RefuseUnsupported(const std::string& what) const {
    if (!Empty()) Refuse(what + " is not supported by this version");
  }
  [[noreturn]] void Refuse(const std::string& why) const { throw ConfigError(path_ + ": " + why); }

 private:
  void Want(Json::Type type, const char* name) const;

  const Json* value_;
  std::string path_;
};

}  // namespace gantry
