#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>

/// JSON (RFC 8259) of the v1 dialect: a strict reader for what clients send and a writer for answers. Sans-I/O.
///
/// Why not simdjson: it needs the C++ runtime with exceptions and string conversions of glibc's libstdc++, which guest
/// programs do not have (docs/adr/0002-guest-toolchain.md), and wants padded input and tables that would count against
/// the agent's idle memory. Requests here are small: what matters is that nothing a client writes costs more than it sent.
namespace sandbox::agent::v1::json {

inline constexpr int kMaxDepth = 64;
/// Values of one document, members included: a document cannot become much larger in memory than it was on the wire.
inline constexpr std::size_t kMaxValues = 1 << 16;
inline constexpr std::size_t kMaxNumber = 64;   ///< digits and signs of one number

enum class Kind : std::uint8_t { null, boolean, integer, real, string, array, object };

/// One value. Of duplicate keys the last one counts; keys are compared exactly.
struct Value {
  Kind kind = Kind::null;
  bool boolean = false;
  std::int64_t integer = 0;   ///< integer: a number without fraction and exponent that fits
  double real = 0;            ///< real and integer
  std::string text;           ///< string: valid UTF-8; real: the number as it was written
  std::vector<std::string> keys;   ///< object: of `items`
  std::vector<Value> items;        ///< array, object

  bool is(Kind wanted) const noexcept { return kind == wanted; }
  /// The member `key` of an object; null when there is none, or when it is JSON's null.
  const Value* find(std::string_view key) const noexcept;
};

/// Exactly one value and nothing but blanks around it. Errors: invalid_argument (what is wrong and at which byte),
/// resource_exhausted (kMaxDepth, kMaxValues).
Result<Value> parse(std::string_view text);

/// Appends `text` as a string; bytes that are not UTF-8 become U+FFFD, one for each.
void append_string(std::string& out, std::string_view text);
/// How many bytes append_string() would add.
std::size_t string_size(std::string_view text) noexcept;
/// The longest prefix of whole characters that append_string() makes at most `size` bytes of.
std::string_view fitting(std::string_view text, std::size_t size) noexcept;

/// Writes one object, members in the order they are added. Keys are literals that need no escape.
class Object {
 public:
  Object& text(std::string_view key, std::string_view value);
  Object& number(std::string_view key, std::int64_t value);
  Object& boolean(std::string_view key, bool value);
  /// `json` is the text of a value.
  Object& raw(std::string_view key, std::string_view json);
  std::string take();

 private:
  void key(std::string_view name);
  std::string out_;
};

}  // namespace sandbox::agent::v1::json
