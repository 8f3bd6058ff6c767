#include "agent/v1/json.hpp"

#include <stdlib.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "agent/v1/text.hpp"

namespace sandbox::agent::v1::json {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Value> document() {
    Value value;
    SANDBOX_CHECK(parse_value(value, 0));
    skip_blanks();
    if (at_ != text_.size()) return wrong("something follows the value");
    return value;
  }

 private:
  Error wrong(const char* what) const {
    return Error(ErrorCode::invalid_argument, std::string(what) + " at byte " + std::to_string(at_));
  }
  char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) noexcept {
    if (peek() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }
  void skip_blanks() noexcept {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }

  Result<void> parse_value(Value& value, int depth) {
    if (depth > kMaxDepth) return Error(ErrorCode::resource_exhausted, "nested too deeply");
    if (++values_ > kMaxValues) return Error(ErrorCode::resource_exhausted, "too many values");
    skip_blanks();
    switch (peek()) {
      case '{': return parse_object(value, depth);
      case '[': return parse_array(value, depth);
      case '"': value.kind = Kind::string; return parse_string(value.text);
      case 't': value.kind = Kind::boolean; value.boolean = true; return word("true");
      case 'f': value.kind = Kind::boolean; return word("false");
      case 'n': return word("null");
      default: return parse_number(value);
    }
  }

  Result<void> word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) return wrong("unknown word");
    at_ += expected.size();
    return {};
  }

  Result<void> parse_object(Value& value, int depth) {
    value.kind = Kind::object;
    ++at_;
    skip_blanks();
    if (take('}')) return {};
    for (;;) {
      skip_blanks();
      if (peek() != '"') return wrong("a key is missing");
      SANDBOX_CHECK(parse_string(value.keys.emplace_back()));
      skip_blanks();
      if (!take(':')) return wrong("a colon is missing");
      SANDBOX_CHECK(parse_value(value.items.emplace_back(), depth + 1));
      skip_blanks();
      if (take('}')) return {};
      if (!take(',')) return wrong("an object does not end");
    }
  }

  Result<void> parse_array(Value& value, int depth) {
    value.kind = Kind::array;
    ++at_;
    skip_blanks();
    if (take(']')) return {};
    for (;;) {
      SANDBOX_CHECK(parse_value(value.items.emplace_back(), depth + 1));
      skip_blanks();
      if (take(']')) return {};
      if (!take(',')) return wrong("an array does not end");
    }
  }

  Result<void> parse_number(Value& value) {
    const std::size_t begin = at_;
    bool whole = true;
    take('-');
    if (take('0')) {
      if (is_digit(peek())) return wrong("a number begins with 0");
    } else {
      if (!is_digit(peek())) return wrong("a value is missing");
      while (is_digit(peek())) ++at_;
    }
    if (take('.')) {
      whole = false;
      if (!is_digit(peek())) return wrong("digits are missing");
      while (is_digit(peek())) ++at_;
    }
    if (peek() == 'e' || peek() == 'E') {
      whole = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (!is_digit(peek())) return wrong("digits are missing");
      while (is_digit(peek())) ++at_;
    }
    const std::string_view digits = text_.substr(begin, at_ - begin);
    if (digits.size() > kMaxNumber) return wrong("a number is too long");
    if (whole) {
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value.integer);
      if (error == std::errc() && end == digits.data() + digits.size()) {
        value.kind = Kind::integer;
        value.real = static_cast<double>(value.integer);
        return {};
      }
    }
    value.kind = Kind::real;
    value.text = digits;
    value.integer = 0;
    value.real = ::strtod(value.text.c_str(), nullptr);
    return {};
  }

  Result<void> parse_string(std::string& out) {
    ++at_;
    for (;;) {
      std::size_t plain = at_;
      while (plain < text_.size() && text_[plain] != '"' && text_[plain] != '\\' && static_cast<unsigned char>(text_[plain]) >= 0x20) {
        const std::size_t size = utf8_size(text_.substr(plain));
        if (size == 0) {
          at_ = plain;
          return wrong("a string is not UTF-8");
        }
        plain += size;
      }
      out.append(text_, at_, plain - at_);
      at_ = plain;
      if (at_ >= text_.size()) return wrong("a string does not end");
      if (take('"')) return {};
      if (peek() != '\\') return wrong("a string contains a control character");
      ++at_;
      SANDBOX_CHECK(parse_escape(out));
    }
  }

  Result<void> parse_escape(std::string& out) {
    const char c = peek();
    ++at_;
    switch (c) {
      case '"': case '\\': case '/': out += c; return {};
      case 'b': out += '\b'; return {};
      case 'f': out += '\f'; return {};
      case 'n': out += '\n'; return {};
      case 'r': out += '\r'; return {};
      case 't': out += '\t'; return {};
      case 'u': break;
      default: return wrong("unknown escape");
    }
    SANDBOX_TRY(std::uint32_t code, hex4());
    if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_, 2) == "\\u") {
      const std::size_t back = at_;
      at_ += 2;
      SANDBOX_TRY(const std::uint32_t low, hex4());
      if (low >= 0xdc00 && low < 0xe000) code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      else at_ = back;
    }
    // Half a surrogate pair is no character. JSON permits to write it; it becomes what other readers make of it.
    if (code >= 0xd800 && code < 0xe000) code = 0xfffd;
    append_utf8(out, code);
    return {};
  }

  Result<std::uint32_t> hex4() {
    std::uint32_t code = 0;
    const std::string_view digits = text_.substr(std::min(at_, text_.size()), 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() != 4 || error != std::errc() || end != digits.data() + 4) return wrong("an escape needs four digits");
    at_ += 4;
    return code;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
};

constexpr std::string_view kReplacement = "\xef\xbf\xbd";   // U+FFFD

/// The escape of a byte below 0x20, of '"' or of '\\'.
std::string_view escape_of(unsigned char c, char (&buffer)[6]) noexcept {
  switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '\b': return "\\b";
    case '\f': return "\\f";
    default: break;
  }
  constexpr char kHex[] = "0123456789abcdef";
  std::memcpy(buffer, "\\u00", 4);
  buffer[4] = kHex[c >> 4];
  buffer[5] = kHex[c & 15];
  return {buffer, 6};
}

/// Calls `put` with the pieces of a string as it is written, without its quotes.
template <class Put>
void write_string(std::string_view text, Put&& put) {
  std::size_t begin = 0, at = 0;
  char buffer[6];
  while (at < text.size()) {
    const auto c = static_cast<unsigned char>(text[at]);
    std::string_view instead;
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
      ++at;
      continue;
    }
    if (c < 0x80) {
      instead = escape_of(c, buffer);
    } else if (const std::size_t size = utf8_size(text.substr(at))) {
      at += size;
      continue;
    } else {
      instead = kReplacement;
    }
    put(text.substr(begin, at - begin));
    put(instead);
    begin = ++at;
  }
  put(text.substr(begin));
}

}  // namespace

const Value* Value::find(std::string_view key) const noexcept {
  for (std::size_t i = keys.size(); i-- > 0;)
    if (keys[i] == key) return items[i].kind == Kind::null ? nullptr : &items[i];
  return nullptr;
}

Result<Value> parse(std::string_view text) { return Parser(text).document(); }

void append_string(std::string& out, std::string_view text) {
  out += '"';
  write_string(text, [&](std::string_view piece) { out += piece; });
  out += '"';
}

std::size_t string_size(std::string_view text) noexcept {
  std::size_t size = 2;
  write_string(text, [&](std::string_view piece) { size += piece.size(); });
  return size;
}

std::string_view fitting(std::string_view text, std::size_t size) noexcept {
  if (text.size() <= size / 6) return text;   // the longest escape has six bytes
  std::size_t used = 2, at = 0;
  char buffer[6];
  while (at < text.size()) {
    const auto c = static_cast<unsigned char>(text[at]);
    std::size_t in = 1, out = 1;
    if (c < 0x20 || c == '"' || c == '\\') out = escape_of(c, buffer).size();
    else if (c >= 0x80) {
      const std::size_t character = utf8_size(text.substr(at));
      in = std::max<std::size_t>(character, 1);
      out = character ? character : kReplacement.size();
    }
    if (used + out > size) break;
    used += out;
    at += in;
  }
  return text.substr(0, at);
}

void Object::key(std::string_view name) {
  out_ += out_.empty() ? "{\"" : ",\"";
  out_ += name;
  out_ += "\":";
}

Object& Object::text(std::string_view name, std::string_view value) {
  key(name);
  append_string(out_, value);
  return *this;
}

Object& Object::number(std::string_view name, std::int64_t value) {
  key(name);
  out_ += std::to_string(value);
  return *this;
}

Object& Object::boolean(std::string_view name, bool value) {
  key(name);
  out_ += value ? "true" : "false";
  return *this;
}

Object& Object::raw(std::string_view name, std::string_view json) {
  key(name);
  out_ += json;
  return *this;
}

std::string Object::take() {
  out_ += out_.empty() ? "{}" : "}";
  return std::exchange(out_, {});
}

}  // namespace sandbox::agent::v1::json
