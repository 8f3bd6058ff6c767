#pragma once

#include <concepts>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

#include <sandbox/result.hpp>

/// Strict reading of untrusted JSON. Only for the .cpp files of this folder: nobody else sees simdjson.
namespace sandbox::rest {

/// One value with the name it has in messages. Valid while its Document lives.
class Value {
 public:
  Value(simdjson::dom::element element, std::string_view name) noexcept : element_(element), name_(name) {}

  bool is_null() const noexcept { return element_.is_null(); }
  bool is_string() const noexcept { return element_.is_string(); }
  bool is_object() const noexcept { return element_.is_object(); }
  /// Whether this is the member `key` (lower case) of its object.
  bool is(std::string_view key) const noexcept;

  /// Writes the value to `target`; null leaves it alone. Errors: invalid_argument.
  Result<void> into(std::string& target) const;
  Result<void> into(bool& target) const;
  Result<void> into(double& target) const;
  Result<void> into(std::map<std::string, std::string>& target) const;
  Result<void> into(std::vector<std::string>& target) const;
  template <std::integral Number>
  Result<void> into(Number& target) const {
    if (is_null()) return {};
    if constexpr (std::is_signed_v<Number>) {
      std::int64_t number = 0;
      SANDBOX_CHECK(signed_number(number, std::numeric_limits<Number>::min(), std::numeric_limits<Number>::max()));
      target = static_cast<Number>(number);
    } else {
      std::uint64_t number = 0;
      SANDBOX_CHECK(unsigned_number(number, std::numeric_limits<Number>::max()));
      target = static_cast<Number>(number);
    }
    return {};
  }
  template <class T>
  Result<void> into(std::optional<T>& target) const {
    if (is_null()) return {};
    T content{};
    SANDBOX_CHECK(into(content));
    target = std::move(content);
    return {};
  }

  /// Calls `take(Value)` for every member, in order; null has none.
  template <class Take>
  Result<void> each_member(Take&& take) const {
    if (is_null()) return {};
    simdjson::dom::object object;
    if (element_.get(object) != simdjson::SUCCESS) return wrong("an object");
    for (const auto& field : object) SANDBOX_CHECK(take(Value(field.value, field.key)));
    return {};
  }
  /// Calls `take(Value)` for every element; null has none.
  template <class Take>
  Result<void> each_element(Take&& take) const {
    if (is_null()) return {};
    simdjson::dom::array array;
    if (element_.get(array) != simdjson::SUCCESS) return wrong("an array");
    for (const auto element : array) SANDBOX_CHECK(take(Value(element, name_)));
    return {};
  }
  template <class T, class Read>
  Result<std::vector<T>> list(Read&& read) const {
    std::vector<T> all;
    auto taken = each_element([&](const Value& element) -> Result<void> {
      SANDBOX_TRY(T one, read(element));
      all.push_back(std::move(one));
      return {};
    });
    if (!taken) return std::move(taken).error();
    return all;
  }

  std::string_view name() const noexcept { return name_; }
  /// The text of a string; empty for anything else.
  std::string_view text() const noexcept;
  /// Compact JSON of the value.
  std::string compact() const;
  Error wrong(std::string_view expected) const;

 private:
  Result<void> signed_number(std::int64_t& target, std::int64_t least, std::int64_t most) const;
  Result<void> unsigned_number(std::uint64_t& target, std::uint64_t most) const;

  simdjson::dom::element element_;
  std::string_view name_;
};

/// Parses the first value of `json` and gives it to `read(Value) -> Result<T>`.
template <class T, class Read>
Result<T> read_document(std::string_view json, Read&& read);

namespace detail {
/// Errors: invalid_argument. The element lives until the next call on this thread.
Result<simdjson::dom::element> parse(std::string_view json);
void release();
}  // namespace detail

template <class T, class Read>
Result<T> read_document(std::string_view json, Read&& read) {
  SANDBOX_TRY(const simdjson::dom::element root, detail::parse(json));
  Result<T> outcome = read(Value(root, "the value"));
  detail::release();
  return outcome;
}

}  // namespace sandbox::rest
