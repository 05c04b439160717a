// A property of a unit of systemd's, and how an annotation says one.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dbus/message.h"

namespace gantry {

struct UnitProperty {
  std::string name;  // "MemoryMax"
  DbusValue value;
};

/// Those that annotations ask for: `org.systemd.property.NAME`, the value as GVariant's text format has it ("uint64 5",
/// "'text'", "['a', 'b']", "true"). As with runc, a NAME of seconds, in "Sec", becomes one of microseconds, in "USec".
/// Throws ConfigError.
std::vector<UnitProperty> AnnotatedProperties(const std::vector<std::pair<std::string, std::string>>& annotations);

}  // namespace gantry
