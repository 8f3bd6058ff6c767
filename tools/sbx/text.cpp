#include "text.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace sbx {

namespace {

/// Length of the well-formed UTF-8 sequence at the front of `text` (Unicode 15, table 3-7), or 0.
std::size_t sequence_length(std::string_view text) noexcept {
  const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = at(0);
  const auto continues = [&](std::size_t i) { return (at(i) & 0xc0u) == 0x80u; };
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (!continues(1) || !continues(2)) return 0;
    if (first == 0xe0 && at(1) < 0xa0) return 0;
    if (first == 0xed && at(1) > 0x9f) return 0;
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (first == 0xf0 && at(1) < 0x90) return 0;
    if (first == 0xf4 && at(1) > 0x8f) return 0;
    return 4;
  }
  return 0;
}

/// A JSON string; bytes that are not UTF-8 become U+FFFD.
std::string quoted(std::string_view text) {
  std::string result = "\"";
  while (!text.empty()) {
    const char c = text.front();
    const auto length = sequence_length(text);
    if (length == 0) {
      result += "\xef\xbf\xbd";
      text.remove_prefix(1);
      continue;
    }
    switch (c) {
      case '"': result += "\\\""; break;
      case '\\': result += "\\\\"; break;
      case '\n': result += "\\n"; break;
      case '\r': result += "\\r"; break;
      case '\t': result += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          char escape[8];
          std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
          result += escape;
        } else {
          result += text.substr(0, length);
        }
    }
    text.remove_prefix(length);
  }
  return result + '"';
}

}  // namespace

sandbox::Error invalid(std::string message) { return {sandbox::ErrorCode::invalid_argument, std::move(message)}; }

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const auto length = sequence_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string base64(std::string_view bytes) {
  static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  result.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = bytes.size() - i;
    std::uint32_t group = static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i])) << 16;
    if (left > 1) group |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i + 1])) << 8;
    if (left > 2) group |= static_cast<unsigned char>(bytes[i + 2]);
    result += kAlphabet[group >> 18];
    result += kAlphabet[(group >> 12) & 63];
    result += left > 1 ? kAlphabet[(group >> 6) & 63] : '=';
    result += left > 2 ? kAlphabet[group & 63] : '=';
  }
  return result;
}

std::string human_size(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || value == std::floor(value) ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string column_size(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  // As it will be printed: 1023.96 KiB would otherwise come out as "1024.0 KiB".
  for (; value >= 1023.95 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  char text[40];
  std::snprintf(text, sizeof text, "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string human_age(std::chrono::seconds time) {
  const auto total = std::max<std::int64_t>(0, time.count());
  static constexpr std::pair<std::int64_t, char> kUnits[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
  for (std::size_t i = 0; i + 1 < std::size(kUnits); ++i) {
    const auto [size, letter] = kUnits[i];
    if (total < size) continue;
    const auto rest = total % size / kUnits[i + 1].first;
    return std::to_string(total / size) + letter + (rest == 0 ? "" : std::to_string(rest) + kUnits[i + 1].second);
  }
  return std::to_string(total) + "s";
}

std::string human_time(std::chrono::nanoseconds time) {
  const double ms = std::chrono::duration<double, std::milli>(time).count();
  char text[32];
  if (ms < 1000) std::snprintf(text, sizeof text, "%.2f ms", ms);
  else std::snprintf(text, sizeof text, "%.2f s", ms / 1000);
  return text;
}

void Json::comma() {
  if (text_.size() > 1) text_ += ',';
}

Json& Json::raw(std::string_view key, std::string_view value) {
  comma();
  text_ += quoted(key);
  text_ += ':';
  text_ += value;
  return *this;
}

Json& Json::add(std::string_view key, std::string_view text) { return raw(key, quoted(text)); }

Json& Json::add(std::string_view key, double value) {
  if (!std::isfinite(value)) return add_null(key);
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", value);
  return raw(key, text);
}

Json& Json::add_bytes(const std::string& key, std::string_view bytes) {
  add(key, bytes);
  if (!is_utf8(bytes)) add(key + "_base64", base64(bytes));
  return *this;
}

Json& Json::push(std::string_view text) {
  comma();
  text_ += quoted(text);
  return *this;
}

Json& Json::push(const Json& value) {
  comma();
  text_ += value.str();
  return *this;
}

Json to_json(const sandbox::Error& error) {
  Json json = Json::object();
  json.add("code", sandbox::name(error.code())).add("message", error.message());
  if (!error.operation().empty()) json.add("operation", error.operation());
  if (error.sys_errno() != 0) json.add("errno", error.sys_errno());
  return json;
}

}  // namespace sbx
