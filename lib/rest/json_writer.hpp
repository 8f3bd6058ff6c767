#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sandbox::rest {

/// Writes one compact JSON text, front to back. The caller opens and closes in order; commas are ours. Bytes that are
/// not UTF-8 become U+FFFD, so that the text is always JSON; numbers that JSON has no word for (NaN) become 0.
class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(bool truth) { return raw(truth ? "true" : "false"); }
  JsonWriter& value(std::int64_t number);
  JsonWriter& value(std::uint64_t number);
  JsonWriter& value(std::int32_t number) { return value(static_cast<std::int64_t>(number)); }
  JsonWriter& value(std::uint32_t number) { return value(static_cast<std::uint64_t>(number)); }
  /// The shortest text that reads back as the same number.
  JsonWriter& value(double number);
  JsonWriter& null() { return raw("null"); }
  /// A complete JSON value written elsewhere.
  JsonWriter& raw(std::string_view json);
  template <class T>
  JsonWriter& member(std::string_view name, T&& content) {
    return key(name).value(std::forward<T>(content));
  }

  const std::string& text() const noexcept { return text_; }
  std::string take() && { return std::move(text_); }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void separate();
  void quote(std::string_view text);

  std::string text_;
  bool comma_ = false;  ///< something stands before the next value
};

}  // namespace sandbox::rest
