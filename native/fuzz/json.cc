// The reader of JSON: what it takes can be written and read again, and is the same then.
#include "runtime/json.h"

#include <string>

#include "fuzz.h"

namespace gantry::fuzz {
namespace {

bool Same(const Json& one, const Json& other) {
  if (one.type != other.type || one.boolean != other.boolean || one.text != other.text ||
      one.items.size() != other.items.size() || one.members.size() != other.members.size()) {
    return false;
  }
  for (std::size_t i = 0; i < one.items.size(); ++i) {
    if (!Same(one.items[i], other.items[i])) return false;
  }
  for (std::size_t i = 0; i < one.members.size(); ++i) {
    if (one.members[i].name != other.members[i].name || !Same(one.members[i].value, other.members[i].value))
      return false;
  }
  return true;
}

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gantry;
  Json first;
  try {
    first = ParseJson(fuzz::Text(data, size));
  } catch (const JsonError&) {
    return 0;
  }
  const std::string text = WriteJson(first);
  if (text.size() <= kMaxJsonBytes) fuzz::Expect(fuzz::Same(first, ParseJson(text)), "what was read can be read again");
  return 0;
}
