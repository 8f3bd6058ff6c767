#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <limits>

#include "rest/rest.hpp"
#include "rest/utf8.hpp"

namespace sandbox::rest {
namespace {

using namespace std::chrono;

std::string date_and_time(sys_seconds at) {
  const auto day = floor<days>(at);
  const year_month_day date(day);
  const hh_mm_ss clock(at - day);
  char text[40];
  const int length = std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
                                   static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                   static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                                   static_cast<int>(clock.seconds().count()));
  return std::string(text, static_cast<std::size_t>(length));
}

/// Takes `count` digits off the front of `text`.
bool digits(std::string_view& text, std::size_t count, int& target) {
  if (text.size() < count) return false;
  target = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
    target = target * 10 + (text[i] - '0');
  }
  text.remove_prefix(count);
  return true;
}

bool literal(std::string_view& text, char first, char second) {
  if (text.empty() || (text[0] != first && text[0] != second)) return false;
  text.remove_prefix(1);
  return true;
}
bool literal(std::string_view& text, char only) { return literal(text, only, only); }

/// The fraction of a second: one to nine digits count, more are dropped.
bool fraction(std::string_view& text, std::int64_t& target) {
  std::size_t count = 0;
  std::int64_t scale = 100'000'000;
  target = 0;
  for (; count < text.size() && text[count] >= '0' && text[count] <= '9'; ++count, scale /= 10) target += (text[count] - '0') * scale;
  text.remove_prefix(count);
  return count > 0;
}

}  // namespace

std::string write_time_seconds(WallTime time) { return date_and_time(floor<seconds>(time)) + "Z"; }

std::string write_time(WallTime time) {
  const auto whole = floor<seconds>(time);
  std::string text = date_and_time(whole);
  if (const auto rest = duration_cast<nanoseconds>(time - whole).count(); rest != 0) {
    char part[16];
    const int length = std::snprintf(part, sizeof part, ".%09lld", static_cast<long long>(rest));
    text.append(part, static_cast<std::size_t>(length));
    while (text.back() == '0') text.pop_back();
  }
  return text + "Z";
}

Result<WallTime> read_time(std::string_view text) {
  const Error wrong(ErrorCode::invalid_argument, "not a time of RFC 3339");
  wrong.ignore("made in advance");
  int y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0;
  if (!(digits(text, 4, y) && literal(text, '-') && digits(text, 2, mo) && literal(text, '-') && digits(text, 2, d) &&
        literal(text, 'T', 't') && digits(text, 2, h) && literal(text, ':') && digits(text, 2, mi) && literal(text, ':') &&
        digits(text, 2, s)))
    return wrong;
  const year_month_day date{year(y), month(static_cast<unsigned>(mo)), day(static_cast<unsigned>(d))};
  // 60 is a leap second; it reads as the second after it.
  if (!date.ok() || h > 23 || mi > 59 || s > 60) return wrong;
  std::int64_t nanos = 0;
  if (literal(text, '.') && !fraction(text, nanos)) return wrong;
  int offset = 0;
  if (!literal(text, 'Z', 'z')) {
    const bool behind = !text.empty() && text[0] == '-';
    int oh = 0, om = 0;
    if (!(literal(text, '+', '-') && digits(text, 2, oh) && literal(text, ':') && digits(text, 2, om)) || oh > 23 || om > 59)
      return wrong;
    offset = (oh * 60 + om) * (behind ? -1 : 1);
  }
  // The clock counts nanoseconds in 64 bits: 1678 to 2261.
  if (!text.empty() || y < 1678 || y > 2261) return wrong;
  return WallTime(duration_cast<system_clock::duration>(sys_days(date).time_since_epoch() + hours(h) + minutes(mi - offset) +
                                                        seconds(s) + nanoseconds(nanos)));
}

Result<ByteCount> read_size(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  std::uint64_t amount = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount);
  const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  const Error wrong(ErrorCode::invalid_argument, "not a size: a number of bytes, with k, m, g or t for powers of 1024");
  wrong.ignore("made in advance");
  if (error != std::errc() || end == text.data() || suffix.size() > 1) return wrong;
  unsigned shift = 0;
  if (!suffix.empty()) {
    const auto at = std::string_view("kmgt").find(static_cast<char>(std::tolower(static_cast<unsigned char>(suffix[0]))));
    if (at == std::string_view::npos) return wrong;
    shift = static_cast<unsigned>(at + 1) * 10;
  }
  if (amount > std::numeric_limits<std::uint64_t>::max() >> shift) return wrong;
  return ByteCount(amount << shift);
}

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string_view name(SandboxState state) noexcept {
  switch (state) {
    case SandboxState::creating: return "creating";
    case SandboxState::running: return "running";
    case SandboxState::paused: return "paused";
    case SandboxState::disconnected: return "disconnected";
    case SandboxState::stopping: return "stopping";
    case SandboxState::stopped: break;
  }
  return "stopped";
}

}  // namespace sandbox::rest
