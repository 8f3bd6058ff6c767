#include "rest/json_reader.hpp"

#include <memory>

#include "core/text.hpp"
#include "rest/rest.hpp"

namespace sandbox::rest {
namespace {

constexpr std::size_t kMaxDepth = 32;
/// A parser keeps the memory of the largest text it read; beyond this it is dropped.
constexpr std::size_t kKeptText = 256 << 10;

bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/// The first JSON value of `text`, or what would be one: simdjson insists on the whole text being one, our readers take
/// what comes first (sandbox-protocol.md 1.1).
std::string_view first_value(std::string_view text) noexcept {
  std::size_t begin = 0;
  while (begin < text.size() && is_blank(text[begin])) ++begin;
  text.remove_prefix(begin);
  if (text.empty()) return text;
  const bool composed = text[0] == '{' || text[0] == '[', quoted = text[0] == '"';
  std::size_t depth = 0;
  bool inside = false;  // a string
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (inside) {
      if (c == '\\') ++i;
      else if (c == '"') inside = false;
      if (!inside && quoted) return text.substr(0, i + 1);
    } else if (c == '"') {
      inside = true;
    } else if (composed) {
      if (c == '{' || c == '[') ++depth;
      else if ((c == '}' || c == ']') && --depth == 0) return text.substr(0, i + 1);
    } else if (is_blank(c)) {
      return text.substr(0, i);
    }
  }
  return text;
}

struct Parser {
  simdjson::dom::parser parser{kMaxDocument};
  simdjson::padded_string text;
  std::size_t largest = 0;
};

std::unique_ptr<Parser>& parser_of_thread() {
  thread_local std::unique_ptr<Parser> parser;
  return parser;
}

}  // namespace

namespace detail {

Result<simdjson::dom::element> parse(std::string_view json) {
  if (json.size() > kMaxDocument) return Error(ErrorCode::invalid_argument, "the JSON text is too long");
  const std::string_view value = first_value(json);
  if (value.empty()) return Error(ErrorCode::invalid_argument, "there is no JSON text");
  auto& kept = parser_of_thread();
  if (!kept) kept = std::make_unique<Parser>();
  kept->largest = std::max(kept->largest, value.size());
  if (kept->parser.capacity() < value.size() || kept->parser.max_depth() != kMaxDepth) {
    if (kept->parser.allocate(std::max<std::size_t>(value.size(), 1024), kMaxDepth) != simdjson::SUCCESS)
      return Error(ErrorCode::resource_exhausted, "no memory for the JSON text");
  }
  kept->text = simdjson::padded_string(value);
  simdjson::dom::element root;
  if (const auto error = kept->parser.parse(kept->text).get(root); error != simdjson::SUCCESS)
    return Error(ErrorCode::invalid_argument, std::string("not valid JSON: ") + simdjson::error_message(error));
  return root;
}

void release() {
  auto& kept = parser_of_thread();
  if (kept && kept->largest > kKeptText) kept.reset();
}

}  // namespace detail

bool Value::is(std::string_view key) const noexcept {
  if (name_.size() != key.size()) return false;
  for (std::size_t i = 0; i < key.size(); ++i) {
    const char c = name_[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != key[i]) return false;
  }
  return true;
}

Error Value::wrong(std::string_view expected) const {
  return Error(ErrorCode::invalid_argument, core::escape_control(name_.substr(0, 64)) + " must be " + std::string(expected));
}

std::string_view Value::text() const noexcept {
  std::string_view text;
  return element_.get(text) == simdjson::SUCCESS ? text : std::string_view();
}

std::string Value::compact() const { return simdjson::minify(element_); }

Result<void> Value::into(std::string& target) const {
  if (is_null()) return {};
  if (!is_string()) return wrong("a string");
  target = text();
  return {};
}

Result<void> Value::into(bool& target) const {
  if (is_null()) return {};
  if (element_.get(target) != simdjson::SUCCESS) return wrong("true or false");
  return {};
}

Result<void> Value::into(double& target) const {
  if (is_null()) return {};
  if (element_.get(target) != simdjson::SUCCESS) return wrong("a number");
  return {};
}

Result<void> Value::into(std::map<std::string, std::string>& target) const {
  return each_member([&](const Value& member) -> Result<void> {
    std::string content;
    SANDBOX_CHECK(member.into(content));
    target.insert_or_assign(std::string(member.name()), std::move(content));
    return {};
  });
}

Result<void> Value::into(std::vector<std::string>& target) const {
  target.clear();
  return each_element([&](const Value& element) -> Result<void> { return element.into(target.emplace_back()); });
}

Result<void> Value::signed_number(std::int64_t& target, std::int64_t least, std::int64_t most) const {
  std::int64_t number = 0;
  if (element_.get(number) != simdjson::SUCCESS) return wrong("a whole number");
  if (number < least || number > most) return wrong("between " + std::to_string(least) + " and " + std::to_string(most));
  target = number;
  return {};
}

Result<void> Value::unsigned_number(std::uint64_t& target, std::uint64_t most) const {
  std::uint64_t number = 0;
  if (element_.get(number) != simdjson::SUCCESS) return wrong("a whole number, not negative");
  if (number > most) return wrong("at most " + std::to_string(most));
  target = number;
  return {};
}

}  // namespace sandbox::rest
