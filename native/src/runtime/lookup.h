// Tables of names: words of the configuration and what they mean.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace gantry {

template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};

template <typename Value, std::size_t Size>
std::optional<Value> Lookup(const std::array<Named<Value>, Size>& table, std::string_view name) {
  for (const auto& row : table) {
    if (row.name == name) return row.value;
  }
  return std::nullopt;
}

}  // namespace gantry
