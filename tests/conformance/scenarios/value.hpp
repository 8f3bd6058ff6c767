#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// JSON values of stories, and what the C++ runner needs to speak of them.
namespace sandbox::scenarios {

/// A story did not go as told: its text is the reason that the runner prints.
class Surprise : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Value;
using List = std::vector<Value>;
using Object = std::map<std::string, Value, std::less<>>;

/// Text is bytes: what a program wrote, too. Whole numbers and others are told apart.
struct Value : std::variant<std::monostate, bool, std::int64_t, double, std::string, List, Object> {
  using variant::variant;
  Value(const char* text) : variant(std::string(text)) {}
  Value(int number) : variant(static_cast<std::int64_t>(number)) {}
  Value(std::uint32_t number) : variant(static_cast<std::int64_t>(number)) {}
  Value(std::uint64_t number) : variant(static_cast<std::int64_t>(number)) {}

  bool is_null() const { return std::holds_alternative<std::monostate>(*this); }
  const std::string* text() const { return std::get_if<std::string>(this); }
  const std::int64_t* number() const { return std::get_if<std::int64_t>(this); }
  const List* list() const { return std::get_if<List>(this); }
  const Object* object() const { return std::get_if<Object>(this); }

  /// For messages: one line, shortened, control bytes escaped.
  std::string shown() const;
};

/// Throws Surprise with the reason when the file is no JSON.
Value read_json(const std::filesystem::path& file);
std::string decode_base64(std::string_view text);
/// See README.md, "numbered".
std::string numbered_lines(std::int64_t lines);

}  // namespace sandbox::scenarios
