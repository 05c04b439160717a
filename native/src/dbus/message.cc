#include "dbus/message.h"

#include <bit>
#include <cstring>

namespace gantry {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

constexpr std::uint8_t kLittleEndian = 'l';
constexpr std::uint8_t kVersion = 1;
/// The specification allows 64 MiB of fields and 128 MiB in all; of systemd's manager nobody hears a hundredth.
constexpr std::uint32_t kMostFieldBytes = 64U << 10;
constexpr std::uint32_t kMostBodyBytes = 1U << 20;

/// "Header Fields".
enum HeaderField : std::uint8_t {
  kPath = 1,
  kInterface,
  kMember,
  kErrorName,
  kReplySerial,
  kDestination,
  kSender,
  kSignature,
};

template <typename... Each>
struct Overloaded : Each... {
  using Each::operator()...;
};

std::string_view SignatureOf(const DbusValue& value) {
  constexpr std::string_view kSignatures[] = {"b", "i", "u", "x", "t", "d", "s", "as", "au", "ay"};
  static_assert(std::size(kSignatures) == std::variant_size_v<DbusValue>);
  return kSignatures[value.index()];
}

/// Of a field that we do not know ("must be ignored"), or do not need.
void SkipBasic(DbusReader& reader, const std::string& signature) {
  if (signature == "s" || signature == "o") {
    reader.String();
  } else if (signature == "g") {
    reader.Signature();
  } else if (signature == "y") {
    reader.Byte();
  } else if (signature == "u" || signature == "i" || signature == "b" || signature == "h") {
    reader.Uint32();
  } else {
    throw DbusFormatError("a header field of the type " + signature);
  }
}

void ReadField(DbusReader& fields, DbusMessage& message) {
  fields.Align(8);
  const std::uint8_t field = fields.Byte();
  const std::string signature = fields.Signature();
  const auto text = [&](const char* wanted, std::string& into) {
    if (signature != wanted) throw DbusFormatError("a header field of the wrong type");
    into = signature == "g" ? fields.Signature() : fields.String();
  };
  switch (field) {
    case kPath:
      return text("o", message.path);
    case kInterface:
      return text("s", message.interface);
    case kMember:
      return text("s", message.member);
    case kErrorName:
      return text("s", message.error_name);
    case kDestination:
      return text("s", message.destination);
    case kSignature:
      return text("g", message.signature);
    case kReplySerial:
      if (signature != "u") throw DbusFormatError("a header field of the wrong type");
      message.reply_serial = fields.Uint32();
      return;
    default:
      SkipBasic(fields, signature);
  }
}

}  // namespace

void DbusWriter::String(std::string_view text) {
  Fixed(static_cast<std::uint32_t>(text.size()));
  bytes_.append(text).push_back('\0');
}

void DbusWriter::Signature(std::string_view text) {
  Byte(static_cast<std::uint8_t>(text.size()));
  bytes_.append(text).push_back('\0');
}

void DbusWriter::SetLength(std::size_t at, std::size_t length) {
  const auto value = static_cast<std::uint32_t>(length);
  std::memcpy(bytes_.data() + at, &value, sizeof value);
}

void DbusWriter::Value(const DbusValue& value) {
  std::visit(Overloaded{[&](bool flag) { Fixed(std::uint32_t{flag}); }, [&](const std::string& text) { String(text); },
                        [&](const std::vector<std::string>& texts) {
                          Array(4, [&] {
                            for (const std::string& text : texts) String(text);
                          });
                        },
                        [&](const std::vector<std::uint32_t>& numbers) {
                          Array(4, [&] {
                            for (const std::uint32_t number : numbers) Fixed(number);
                          });
                        },
                        [&](const std::vector<std::uint8_t>& numbers) {
                          Array(1, [&] {
                            for (const std::uint8_t number : numbers) Byte(number);
                          });
                        },
                        [&](auto number) { Fixed(number); }},
             value);
}

void DbusWriter::Variant(const DbusValue& value) {
  Signature(SignatureOf(value));
  Value(value);
}

std::string_view DbusReader::Take(std::size_t size) {
  if (size > bytes_.size() - at_) throw DbusFormatError("a message that ends early");
  const std::string_view taken = bytes_.substr(at_, size);
  at_ += size;
  return taken;
}

void DbusReader::Align(std::size_t size) {
  for (const char byte : Take((size - at_ % size) % size)) {
    if (byte != 0) throw DbusFormatError("padding that is not empty");
  }
}

std::uint8_t DbusReader::Byte() { return static_cast<std::uint8_t>(Take(1)[0]); }

std::uint32_t DbusReader::Uint32() {
  Align(sizeof(std::uint32_t));
  std::uint32_t value = 0;
  std::memcpy(&value, Take(sizeof value).data(), sizeof value);
  return value;
}

std::string DbusReader::Text(std::size_t length) {
  std::string text(Take(length));
  if (Byte() != 0 || text.find('\0') != std::string::npos) throw DbusFormatError("a text that does not end with NUL");
  return text;
}

std::string DbusReader::String() { return Text(Uint32()); }

std::string DbusReader::Signature() { return Text(Byte()); }

std::size_t DbusMessageSize(std::string_view prefix) {
  DbusReader reader(prefix.substr(0, kDbusPrefixBytes));
  if (reader.Byte() != kLittleEndian) throw DbusFormatError("a message of another byte order");
  reader.Take(2);  // type and flags
  if (reader.Byte() != kVersion) throw DbusFormatError("a message of another version");
  const std::uint32_t body = reader.Uint32();
  reader.Uint32();  // serial
  const std::uint32_t fields = reader.Uint32();
  if (fields > kMostFieldBytes || body > kMostBodyBytes) throw DbusFormatError("a message that is too long");
  return (kDbusPrefixBytes + fields + 7) / 8 * 8 + body;
}

DbusMessage ParseDbusMessage(std::string_view bytes) {
  if (DbusMessageSize(bytes) != bytes.size()) throw DbusFormatError("a message of another length");
  DbusReader reader(bytes);
  DbusMessage message;
  reader.Byte();
  const std::uint8_t type = reader.Byte();
  if (type < DbusMessage::kCall || type > DbusMessage::kSignal) throw DbusFormatError("a message of no known type");
  message.type = static_cast<DbusMessage::Type>(type);
  reader.Take(2);
  const std::uint32_t body = reader.Uint32();
  message.serial = reader.Uint32();
  const std::uint32_t fields = reader.Uint32();
  // The fields begin at a multiple of 8, so that what is aligned in them is aligned in the message.
  DbusReader header(reader.Take(fields));
  while (!header.AtEnd()) ReadField(header, message);
  reader.Align(8);
  message.body = reader.Take(body);
  return message;
}

std::string PrintDbusMessage(const DbusMessage& message) {
  DbusWriter writer;
  writer.Byte(kLittleEndian);
  writer.Byte(message.type);
  writer.Byte(0);
  writer.Byte(kVersion);
  writer.Uint32(static_cast<std::uint32_t>(message.body.size()));
  writer.Uint32(message.serial);
  const auto field = [&](HeaderField number, std::string_view type, const std::string& text) {
    if (text.empty()) return;
    writer.Align(8);
    writer.Byte(number);
    writer.Signature(type);
    if (type == "g") {
      writer.Signature(text);
    } else {
      writer.String(text);
    }
  };
  writer.Array(8, [&] {
    field(kPath, "o", message.path);
    field(kInterface, "s", message.interface);
    field(kMember, "s", message.member);
    field(kErrorName, "s", message.error_name);
    field(kDestination, "s", message.destination);
    field(kSignature, "g", message.signature);
    if (message.reply_serial == 0) return;
    writer.Align(8);
    writer.Byte(kReplySerial);
    writer.Signature("u");
    writer.Uint32(message.reply_serial);
  });
  writer.Align(8);
  return writer.bytes() + message.body;
}

}  // namespace gantry
