#pragma once
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandbox::core {

/// `text` with control bytes as \xNN, so that untrusted text cannot move a terminal's cursor or forge a log line.
std::string escape_control(std::string_view text);

/// The whole of `text` as a decimal number, or nothing.
template <class Number>
std::optional<Number> parse_number(std::string_view text) noexcept {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// Lower-case hexadecimal of `size` bytes at `data`.
std::string to_hex(const void* data, std::size_t size);

}  // namespace sandbox::core
