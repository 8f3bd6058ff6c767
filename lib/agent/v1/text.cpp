#include "agent/v1/text.hpp"

#include <errno.h>
#include <string.h>
#include <stdio.h>

#include <algorithm>
#include <utility>

namespace sandbox::agent::v1 {
namespace {

/// How many bytes a character that begins with `lead` has; 0 when none does. `low`, `high`: limits of its second byte.
std::size_t shape(unsigned char lead, unsigned char& low, unsigned char& high) noexcept {
  low = 0x80;
  high = 0xbf;
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;   // no surrogates
    return 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
    return 4;
  }
  return 0;
}

/// Bytes of `text` that fit the beginning of one character, and how many it would need.
std::pair<std::size_t, std::size_t> fit(std::string_view text) noexcept {
  if (text.empty()) return {0, 0};
  unsigned char low, high;
  const std::size_t size = shape(static_cast<unsigned char>(text.front()), low, high);
  if (size == 0) return {0, 0};
  std::size_t good = 1;
  while (good < size && good < text.size()) {
    const auto c = static_cast<unsigned char>(text[good]);
    if (c < low || c > high) break;
    low = 0x80;
    high = 0xbf;
    ++good;
  }
  return {good, size};
}

}  // namespace

std::size_t utf8_size(std::string_view text) noexcept {
  const auto [good, size] = fit(text);
  return good == size ? size : 0;
}

bool utf8_incomplete(std::string_view text) noexcept {
  const auto [good, size] = fit(text);
  return good == text.size() && good < size;
}

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

std::string_view utf8_prefix(std::string_view text, std::size_t size) noexcept {
  if (size >= text.size()) return text;
  text = text.substr(0, size);
  for (std::size_t tail = 1; tail <= 3 && tail <= text.size(); ++tail) {
    if (utf8_incomplete(text.substr(text.size() - tail))) return text.substr(0, text.size() - tail);
  }
  return text;
}

std::string Utf8Cutter::feed(std::string_view bytes) {
  std::string text = std::exchange(held_, {});
  text += bytes;
  for (std::size_t tail = 1; tail <= 3 && tail <= text.size(); ++tail) {
    if (!utf8_incomplete(std::string_view(text).substr(text.size() - tail))) continue;
    held_ = text.substr(text.size() - tail);
    text.resize(text.size() - tail);
    break;
  }
  return text;
}

std::string base64(ByteView bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < left ? static_cast<std::uint32_t>(bytes[i + k]) : 0);
    out += kDigits[group >> 18];
    out += kDigits[group >> 12 & 63];
    out += left > 1 ? kDigits[group >> 6 & 63] : '=';
    out += left > 2 ? kDigits[group & 63] : '=';
  }
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  const auto digit = [](char c) -> int {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
  };
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::size_t digits = 4;
    if (i + 4 == text.size()) {
      if (text[i + 3] == '=') digits = text[i + 2] == '=' ? 2 : 3;
    }
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      const int value = k < digits ? digit(text[i + k]) : 0;
      if (value < 0) return std::nullopt;
      group = group << 6 | static_cast<std::uint32_t>(value);
    }
    if ((digits == 2 && (group & 0xffff) != 0) || (digits == 3 && (group & 0xff) != 0)) return std::nullopt;
    out += static_cast<char>(group >> 16);
    if (digits > 2) out += static_cast<char>(group >> 8 & 0xff);
    if (digits > 3) out += static_cast<char>(group & 0xff);
  }
  return out;
}

std::string os_text(int number) {
  switch (number) {   // where the C library here has other words
    case EPERM: return "operation not permitted";
    case EAGAIN: return "resource temporarily unavailable";
    case ELOOP: return "too many levels of symbolic links";
    case EXDEV: return "invalid cross-device link";
    case ENAMETOOLONG: return "file name too long";
    case EBUSY: return "device or resource busy";
    case EDQUOT: return "disk quota exceeded";
    case EIO: return "input/output error";
    case ENOMEM: return "cannot allocate memory";
    case ENFILE: return "too many open files in system";
    case EMFILE: return "too many open files";
    case ENXIO: return "no such device or address";
    case ETXTBSY: return "text file busy";
    case ENOEXEC: return "exec format error";
    case EINVAL: return "invalid argument";
    default: break;
  }
  std::string text = ::strerror(number);
  if (text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && text[1] >= 'a' && text[1] <= 'z') text[0] += 'a' - 'A';
  return text;
}

std::string duration_text(std::int64_t milliseconds) {
  if (milliseconds < 1000) return std::to_string(milliseconds) + "ms";
  const std::int64_t hours = milliseconds / 3'600'000, minutes = milliseconds / 60'000 % 60;
  std::string text;
  if (hours > 0) text += std::to_string(hours) + "h";
  if (hours > 0 || minutes > 0) text += std::to_string(minutes) + "m";
  text += std::to_string(milliseconds / 1000 % 60);
  if (const auto rest = milliseconds % 1000) {
    char fraction[8];
    ::snprintf(fraction, sizeof fraction, ".%03d", static_cast<int>(rest));
    text += fraction;
    while (text.back() == '0') text.pop_back();
  }
  return text + "s";
}

std::string time_text(std::int64_t unix_seconds) { return time_text(unix_seconds, 0); }

std::string time_text(std::int64_t unix_seconds, std::uint32_t nanoseconds) {
  // Civil date from days, era by era of 400 years (the proleptic Gregorian calendar); gmtime(3) wants a time zone here.
  std::int64_t days = unix_seconds / 86400, seconds = unix_seconds % 86400;
  if (seconds < 0) {
    seconds += 86400;
    --days;
  }
  days += 719468;
  const std::int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const std::int64_t day_of_era = days - era * 146097;
  const std::int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t shifted_month = (5 * day_of_year + 2) / 153;
  const int day = static_cast<int>(day_of_year - (153 * shifted_month + 2) / 5 + 1);
  const int month = static_cast<int>(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
  const std::int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  char text[64];
  ::snprintf(text, sizeof text, "%04lld-%02d-%02dT%02d:%02d:%02d", static_cast<long long>(year), month, day,
             static_cast<int>(seconds / 3600), static_cast<int>(seconds / 60 % 60), static_cast<int>(seconds % 60));
  std::string out = text;
  if (nanoseconds != 0) {
    ::snprintf(text, sizeof text, ".%09u", nanoseconds);
    out += text;
    while (out.back() == '0') out.pop_back();
  }
  return out + "Z";
}

}  // namespace sandbox::agent::v1
