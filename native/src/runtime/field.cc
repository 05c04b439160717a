#include "runtime/field.h"

#include <charconv>

namespace gantry {

bool Field::Empty() const {
  if (!Present()) return true;
  switch (value_->type) {
    case Json::Type::kString:
      return value_->text.empty();
    case Json::Type::kArray:
      return value_->items.empty();
    case Json::Type::kObject:
      return value_->members.empty();
    default:
      return false;
  }
}

void Field::Want(Json::Type type, const char* name) const {
  if (!Present()) Refuse("is required");
  if (value_->type != type) Refuse(std::string("must be ") + name);
}

Field Field::operator[](std::string_view name) const {
  std::string path = path_.empty() ? std::string(name) : path_ + "." + std::string(name);
  if (!Present()) return {nullptr, std::move(path)};
  Want(Json::Type::kObject, "an object");
  return {value_->Find(name), std::move(path)};
}

std::vector<Field> Field::Items() const {
  std::vector<Field> fields;
  if (!Present()) return fields;
  Want(Json::Type::kArray, "an array");
  for (std::size_t i = 0; i < value_->items.size(); ++i) {
    fields.emplace_back(&value_->items[i], path_ + "[" + std::to_string(i) + "]");
  }
  return fields;
}

std::vector<std::pair<std::string, Field>> Field::Members() const {
  std::vector<std::pair<std::string, Field>> fields;
  if (!Present()) return fields;
  Want(Json::Type::kObject, "an object");
  const std::string prefix = path_.empty() ? "" : path_ + ".";
  for (const auto& [name, value] : value_->members) fields.emplace_back(name, Field(&value, prefix + name));
  return fields;
}

std::string Field::String() const {
  Want(Json::Type::kString, "a string");
  if (value_->text.find('\0') != std::string::npos) Refuse("must not contain a NUL character");
  return value_->text;
}

std::vector<std::string> Field::Strings() const {
  std::vector<std::string> strings;
  if (!Present()) return strings;
  Want(Json::Type::kArray, "an array");
  strings.reserve(value_->items.size());
  for (std::size_t i = 0; i < value_->items.size(); ++i) {
    const Json& item = value_->items[i];
    const bool plain = item.type == Json::Type::kString && item.text.find('\0') == std::string::npos;
    // Only a refusal needs the path of the item: lists of system calls are long.
    strings.push_back(plain ? item.text : Field(&item, path_ + "[" + std::to_string(i) + "]").String());
  }
  return strings;
}

bool Field::BoolOr(bool fallback) const {
  if (!Present()) return fallback;
  Want(Json::Type::kBool, "true or false");
  return value_->boolean;
}

std::int64_t Field::Integer(std::int64_t low, std::int64_t high) const {
  Want(Json::Type::kNumber, "a number");
  std::int64_t number = 0;
  const char* end = value_->text.data() + value_->text.size();
  const auto [rest, error] = std::from_chars(value_->text.data(), end, number);
  if (error != std::errc() || rest != end || number < low || number > high) {
    Refuse("must be an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return number;
}

std::uint64_t Field::Unsigned(std::uint64_t high) const {
  Want(Json::Type::kNumber, "a number");
  std::uint64_t number = 0;
  const char* end = value_->text.data() + value_->text.size();
  const auto [rest, error] = std::from_chars(value_->text.data(), end, number);
  if (error != std::errc() || rest != end || number > high) {
    Refuse("must be an integer from 0 to " + std::to_string(high));
  }
  return number;
}

}  // namespace gantry
