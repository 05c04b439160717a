// What a bus sends: any bytes. A message is what its lengths say, or is refused; so is a text in it. And what an
// annotation says as GVariant's text.
#include "dbus/message.h"
#include "fuzz.h"
#include "runtime/config_error.h"
#include "runtime/systemd_property.h"
#include "runtime/systemd_unit.h"

namespace gantry::fuzz {
namespace {

void TryMessage(std::string_view bytes) {
  try {
    const DbusMessage message = ParseDbusMessage(bytes);
    Expect(message.body.size() <= bytes.size(), "a body is part of its message");
    const DbusMessage again = ParseDbusMessage(PrintDbusMessage(message));
    Expect(again.type == message.type && again.serial == message.serial && again.reply_serial == message.reply_serial &&
               again.path == message.path && again.interface == message.interface && again.member == message.member &&
               again.error_name == message.error_name && again.destination == message.destination &&
               again.signature == message.signature && again.body == message.body,
           "what is printed is what was read");
    DbusReader body(message.body);
    body.Uint32();
    while (!body.AtEnd()) body.String();
  } catch (const DbusFormatError&) {
    return;
  }
}

void TrySettings(std::string_view text) {
  const auto end = text.find('\n');
  try {
    const std::string name = "org.systemd.property." + std::string(text.substr(0, end));
    const std::string value(end == std::string_view::npos ? "" : text.substr(end + 1));
    for (const UnitProperty& property : AnnotatedProperties({{name, value}})) {
      DbusWriter writer;
      writer.Variant(property.value);
      Expect(!DbusReader(writer.bytes()).Signature().empty(), "a value has a type");
    }
  } catch (const ConfigError&) {
    // Most are none.
  }
  try {
    const ScopePlan scope = ParseScope(text, "id");
    Expect(scope.slice.find('/') == std::string::npos && scope.name.unit.find('/') == std::string::npos,
           "names of units are no paths");
    Expect(scope.name.unit.size() <= 255 && scope.name.unit.ends_with(".scope"), "a unit is a scope");
  } catch (const ConfigError&) {
    // Nor names of units.
  }
}

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = gantry::fuzz::Text(data, size);
  gantry::fuzz::TryMessage(text);
  gantry::fuzz::TrySettings(text);
  return 0;
}
