#include "conformance/scenarios/value.hpp"

#include <simdjson.h>

namespace sandbox::scenarios {

namespace {

Value from_json(simdjson::dom::element element) {
  switch (element.type()) {
    case simdjson::dom::element_type::NULL_VALUE: return Value();
    case simdjson::dom::element_type::BOOL: return Value(bool(element));
    case simdjson::dom::element_type::INT64: return Value(std::int64_t(element));
    case simdjson::dom::element_type::DOUBLE: return Value(double(element));
    case simdjson::dom::element_type::STRING: return Value(std::string(std::string_view(element)));
    case simdjson::dom::element_type::ARRAY: {
      List list;
      for (const auto item : simdjson::dom::array(element)) list.push_back(from_json(item));
      return list;
    }
    case simdjson::dom::element_type::OBJECT: {
      Object object;
      for (const auto [key, value] : simdjson::dom::object(element)) {
        if (!object.emplace(std::string(key), from_json(value)).second)
          throw Surprise("key " + std::string(key) + " twice");
      }
      return object;
    }
    default: throw Surprise("a number out of range");
  }
}

std::string shown_text(const std::string& text) {
  std::string out = "\"";
  for (const unsigned char c : text.substr(0, 80)) {
    if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c == 0x7f) {
      out += "\\x" + std::string(1, "0123456789abcdef"[c >> 4]) + "0123456789abcdef"[c & 15];
    } else {
      out += static_cast<char>(c);
    }
  }
  out += "\"";
  return text.size() > 80 ? out + " (" + std::to_string(text.size()) + " bytes)" : out;
}

}  // namespace

std::string Value::shown() const {
  if (is_null()) return "null";
  if (const auto* flag = std::get_if<bool>(this)) return *flag ? "true" : "false";
  if (const auto* whole = number()) return std::to_string(*whole);
  if (const auto* real = std::get_if<double>(this)) return std::to_string(*real);
  if (text()) return shown_text(*text());
  std::string out;
  if (list()) {
    for (const Value& item : *list()) out += (out.empty() ? "" : ", ") + item.shown();
    out = "[" + out + "]";
  } else {
    for (const auto& [key, value] : *object()) out += (out.empty() ? "" : ", ") + key + ": " + value.shown();
    out = "{" + out + "}";
  }
  return out.size() > 400 ? out.substr(0, 400) + "…" : out;
}

Value read_json(const std::filesystem::path& file) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (const auto error = parser.load(file.string()).get(root))
    throw Surprise(file.string() + ": " + simdjson::error_message(error));
  return from_json(root);
}

std::string decode_base64(std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    if (c == '=') break;
    const auto digit = kDigits.find(c);
    if (digit == std::string_view::npos) throw Surprise("bad base64");
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if ((have += 6) >= 8) out += static_cast<char>(bits >> (have -= 8) & 0xff);
  }
  return out;
}

std::string numbered_lines(std::int64_t lines) {
  std::string out;
  out.reserve(static_cast<std::size_t>(lines) * 16);
  for (std::int64_t i = 0; i < lines; ++i) {
    const std::string digits = std::to_string(i);
    out.append(15 - digits.size(), '0') += digits;
    out += '\n';
  }
  return out;
}

}  // namespace sandbox::scenarios
