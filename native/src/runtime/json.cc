#include "runtime/json.h"

#include <algorithm>
#include <unordered_set>

namespace gantry {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

void AppendUtf8(std::string& out, std::uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

class Parser {
 public:
  explicit Parser(std::string_view document) : in_(document) {}

  Json Document() {
    Json value = Value(0);
    SkipSpace();
    if (at_ != in_.size()) Fail("unexpected text after the document");
    return value;
  }

 private:
  [[noreturn]] void Fail(const std::string& what) const {
    const auto before = in_.substr(0, std::min(at_, in_.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const auto start = before.rfind('\n');
    const auto column = before.size() - (start == std::string_view::npos ? 0 : start + 1) + 1;
    throw JsonError("line " + std::to_string(line) + " column " + std::to_string(column) + ": " + what);
  }

  void SkipSpace() {
    while (at_ < in_.size() && (in_[at_] == ' ' || in_[at_] == '\t' || in_[at_] == '\n' || in_[at_] == '\r')) ++at_;
  }

  char Peek() const { return at_ < in_.size() ? in_[at_] : '\0'; }

  void Expect(char c, const char* what) {
    if (at_ >= in_.size() || in_[at_] != c) Fail(what);
    ++at_;
  }

  Json Value(int depth) {
    if (depth > kMaxJsonDepth) Fail("nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
    SkipSpace();
    Json value;
    switch (Peek()) {
      case '{':
        Object(value, depth);
        break;
      case '[':
        Array(value, depth);
        break;
      case '"':
        value.type = Json::Type::kString;
        value.text = String();
        break;
      case 't':
        Literal("true");
        value.type = Json::Type::kBool;
        value.boolean = true;
        break;
      case 'f':
        Literal("false");
        value.type = Json::Type::kBool;
        break;
      case 'n':
        Literal("null");
        break;
      default:
        value.type = Json::Type::kNumber;
        value.text = Number();
    }
    return value;
  }

  void Literal(std::string_view word) {
    if (in_.substr(at_, word.size()) != word) Fail("expected a value");
    at_ += word.size();
  }

  void Object(Json& value, int depth) {
    value.type = Json::Type::kObject;
    ++at_;
    SkipSpace();
    std::unordered_set<std::string> seen;
    if (Peek() == '}') {
      ++at_;
      return;
    }
    while (true) {
      SkipSpace();
      if (Peek() != '"') Fail("expected a property name in double quotes");
      std::string name = String();
      if (!seen.insert(name).second) Fail("duplicate property " + QuoteJson(name));
      SkipSpace();
      Expect(':', "expected ':' after the property name");
      Json member = Value(depth + 1);
      value.members.push_back({std::move(name), std::move(member)});
      SkipSpace();
      if (Peek() != ',') break;
      ++at_;
    }
    Expect('}', "expected ',' or '}'");
  }

  void Array(Json& value, int depth) {
    value.type = Json::Type::kArray;
    ++at_;
    SkipSpace();
    if (Peek() == ']') {
      ++at_;
      return;
    }
    while (true) {
      value.items.push_back(Value(depth + 1));
      SkipSpace();
      if (Peek() != ',') break;
      ++at_;
    }
    Expect(']', "expected ',' or ']'");
  }

  std::string Number() {
    const auto start = at_;
    if (Peek() == '-') ++at_;
    if (!IsDigit(Peek())) Fail("expected a value");
    if (Peek() == '0') {
      ++at_;
    } else {
      Digits();
    }
    if (Peek() == '.') {
      ++at_;
      if (!IsDigit(Peek())) Fail("expected a digit after the decimal point");
      Digits();
    }
    if (Peek() == 'e' || Peek() == 'E') {
      ++at_;
      if (Peek() == '+' || Peek() == '-') ++at_;
      if (!IsDigit(Peek())) Fail("expected a digit in the exponent");
      Digits();
    }
    return std::string(in_.substr(start, at_ - start));
  }

  void Digits() {
    while (IsDigit(Peek())) ++at_;
  }

  std::string String() {
    ++at_;
    std::string out;
    while (true) {
      if (at_ >= in_.size()) Fail("a string without an end");
      const auto c = static_cast<unsigned char>(in_[at_]);
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c < 0x20) Fail("a control character in a string");
      if (c == '\\') {
        ++at_;
        Escape(out);
      } else if (c < 0x80) {
        out += in_[at_++];
      } else {
        Utf8(out, c);
      }
    }
  }

  void Escape(std::string& out) {
    const char c = Peek();
    ++at_;
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out += c;
        return;
      case 'b':
        out += '\b';
        return;
      case 'f':
        out += '\f';
        return;
      case 'n':
        out += '\n';
        return;
      case 'r':
        out += '\r';
        return;
      case 't':
        out += '\t';
        return;
      case 'u':
        break;
      default:
        --at_;
        Fail("an unknown escape in a string");
    }
    std::uint32_t code = Hex4();
    if (code >= 0xDC00 && code <= 0xDFFF) Fail("a low surrogate without its high one");
    if (code >= 0xD800 && code <= 0xDBFF) {
      if (in_.substr(at_, 2) != "\\u") Fail("a high surrogate without its low one");
      at_ += 2;
      const std::uint32_t low = Hex4();
      if (low < 0xDC00 || low > 0xDFFF) Fail("a high surrogate without its low one");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    AppendUtf8(out, code);
  }

  std::uint32_t Hex4() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = Peek();
      code <<= 4;
      if (IsDigit(c)) {
        code |= static_cast<std::uint32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        code |= static_cast<std::uint32_t>(c - 'a' + 10);
      } else if (c >= 'A' && c <= 'F') {
        code |= static_cast<std::uint32_t>(c - 'A' + 10);
      } else {
        Fail("expected four hexadecimal digits after \\u");
      }
      ++at_;
    }
    return code;
  }

  void Utf8(std::string& out, unsigned char first) {
    const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || at_ + length > in_.size()) Fail("invalid UTF-8");
    std::uint32_t code = first & (0xFFU >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
      const auto next = static_cast<unsigned char>(in_[at_ + i]);
      if ((next & 0xC0) != 0x80) Fail("invalid UTF-8");
      code = (code << 6) | (next & 0x3F);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    if (overlong || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) Fail("invalid UTF-8");
    out.append(in_.substr(at_, length));
    at_ += length;
  }

  std::string_view in_;
  std::size_t at_ = 0;
};

}  // namespace

const Json* Json::Find(std::string_view name) const {
  for (const auto& [key, value] : members) {
    if (key == name) return &value;
  }
  return nullptr;
}

Json ParseJson(std::string_view document) {
  if (document.size() > kMaxJsonBytes) {
    throw JsonError("the document is larger than " + std::to_string(kMaxJsonBytes) + " bytes");
  }
  return Parser(document).Document();
}

std::string QuoteJson(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string WriteJson(const Json& value) {
  std::string text;
  const auto separate = [&] {
    if (text.size() > 1) text += ',';
  };
  switch (value.type) {
    case Json::Type::kNull:
      return "null";
    case Json::Type::kBool:
      return value.boolean ? "true" : "false";
    case Json::Type::kNumber:
      return value.text;
    case Json::Type::kString:
      return QuoteJson(value.text);
    case Json::Type::kArray:
      text = "[";
      for (const Json& item : value.items) {
        separate();
        text += WriteJson(item);
      }
      return text + "]";
    case Json::Type::kObject:
      text = "{";
      for (const auto& [name, member] : value.members) {
        separate();
        text += QuoteJson(name) + ":" + WriteJson(member);
      }
      return text + "}";
  }
  return text;
}

}  // namespace gantry
