#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <sandbox/bytes.hpp>

#include "core/clock.hpp"

/// Text as the v1 dialect wants it: UTF-8, base64, and the words of another language's run-time library.
namespace sandbox::agent::v1 {

/// Bytes of the UTF-8 character `text` begins with (RFC 3629: no surrogates, shortest form); 0: none does.
std::size_t utf8_size(std::string_view text) noexcept;
/// Whether more bytes could make `text`, of at most three bytes, a character.
bool utf8_incomplete(std::string_view text) noexcept;
/// `code` must be a character (no surrogate, at most 0x10ffff).
void append_utf8(std::string& out, std::uint32_t code);

/// Cuts a byte stream into pieces that do not end within a character.
class Utf8Cutter {
 public:
  /// What was held back and `bytes`, without the beginning of a character at its end, which is held back now.
  std::string feed(std::string_view bytes);
  /// What was held back: it never became a character.
  std::string finish() { return std::exchange(held_, {}); }

 private:
  std::string held_;   ///< at most three bytes
};

/// The longest prefix of `text` with at most `size` bytes that does not end within a character.
std::string_view utf8_prefix(std::string_view text, std::size_t size) noexcept;

/// RFC 4648 section 4, padded.
std::string base64(ByteView bytes);
/// Nothing unless all of `text` is padded standard base64 of canonical form.
std::optional<std::string> from_base64(std::string_view text);

/// The text of an errno as Go's standard library has it ("no such file or directory").
std::string os_text(int number);
/// "1m30s", "500ms", "1.5s": Go's Duration.String(), for whole milliseconds of at least one.
std::string duration_text(std::int64_t milliseconds);
/// "2026-11-21T03:24:40Z".
std::string time_text(std::int64_t unix_seconds);
/// "2026-11-21T03:22:45.440115506Z", without trailing zeros of the fraction.
std::string time_text(std::int64_t unix_seconds, std::uint32_t nanoseconds);

}  // namespace sandbox::agent::v1
