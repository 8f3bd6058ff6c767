#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <sandbox/bytes.hpp>
#include <sandbox/error.hpp>

/// Text for people and programs.
namespace sbx {

/// What the user wrote cannot be meant.
sandbox::Error invalid(std::string message);

bool is_utf8(std::string_view text) noexcept;
std::string base64(std::string_view bytes);

/// "3.2 MiB", "512 MiB"
std::string human_size(std::uint64_t bytes);
/// "3.2 MiB", "512.0 MiB", "17 B": one decimal from KiB on, at most GiB.
std::string column_size(std::uint64_t bytes);
/// "12s", "5m12s", "3h5m", "2d4h"
std::string human_age(std::chrono::seconds time);
/// "1.25 ms", "3.10 s"
std::string human_time(std::chrono::nanoseconds time);

/// Builds one JSON object or array. Keys must be unique; nothing is sorted.
class Json {
 public:
  static Json object() { return Json('{', '}'); }
  static Json array() { return Json('[', ']'); }

  Json& add(std::string_view key, std::string_view text);
  Json& add(std::string_view key, const char* text) { return add(key, std::string_view(text)); }
  Json& add(std::string_view key, const std::string& text) { return add(key, std::string_view(text)); }
  Json& add(std::string_view key, bool value) { return raw(key, value ? "true" : "false"); }
  Json& add(std::string_view key, std::int64_t value) { return raw(key, std::to_string(value)); }
  Json& add(std::string_view key, std::uint64_t value) { return raw(key, std::to_string(value)); }
  Json& add(std::string_view key, int value) { return raw(key, std::to_string(value)); }
  Json& add(std::string_view key, std::uint32_t value) { return raw(key, std::to_string(value)); }
  Json& add(std::string_view key, double value);
  Json& add(std::string_view key, const Json& value) { return raw(key, value.str()); }
  Json& add_null(std::string_view key) { return raw(key, "null"); }
  /// `bytes` as a string; when they are not UTF-8 as "<key>_base64", with the readable rest under `key`.
  Json& add_bytes(const std::string& key, std::string_view bytes);
  /// `json` as it is: one JSON value from somebody who writes only those.
  Json& add_json(std::string_view key, std::string_view json) { return raw(key, json); }
  Json& push(std::string_view text);
  Json& push(const Json& value);

  std::string str() const { return text_ + close_; }

 private:
  Json(char open, char close) : text_(1, open), close_(close) {}
  Json& raw(std::string_view key, std::string_view value);
  void comma();

  std::string text_;
  char close_;
};

/// {"code": …, "message": …, "operation": …, "errno": …}
Json to_json(const sandbox::Error& error);

}  // namespace sbx
