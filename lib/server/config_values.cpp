#include <algorithm>
#include <charconv>
#include <limits>

#include "core/text.hpp"
#include "server/config.hpp"

/// Texts inside a configuration: sizes, durations, addresses.
namespace sandbox::server {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

int size_shift(char suffix) {
  switch (suffix) {
    case 'k': case 'K': return 10;
    case 'm': case 'M': return 20;
    case 'g': case 'G': return 30;
    case 't': case 'T': return 40;
    default: return 0;
  }
}

/// Takes a unit of Go's durations off the front; nanoseconds, 0 when there is none.
std::int64_t take_unit(std::string_view& text) {
  struct Unit {
    std::string_view name;
    std::int64_t nanoseconds;
  };
  // Longer names first: "ms" is not "m". The micro sign has two code points.
  static constexpr Unit kUnits[] = {{"ns", 1},          {"us", 1'000},           {"\xC2\xB5s", 1'000},
                                    {"\xCE\xBCs", 1'000}, {"ms", 1'000'000},       {"s", 1'000'000'000},
                                    {"m", 60'000'000'000}, {"h", 3'600'000'000'000}};
  for (const Unit& unit : kUnits) {
    if (text.substr(0, unit.name.size()) != unit.name) continue;
    text.remove_prefix(unit.name.size());
    return unit.nanoseconds;
  }
  return 0;
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  text = trimmed(text);
  if (text.empty()) return std::nullopt;
  const int shift = size_shift(text.back());
  if (shift > 0) text.remove_suffix(1);
  const auto number = core::parse_number<std::uint64_t>(text);
  if (!number || (shift > 0 && *number >> (64 - shift) != 0)) return std::nullopt;
  return *number << shift;
}

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  const bool negative = text.substr(0, 1) == "-";
  if (negative || text.substr(0, 1) == "+") text.remove_prefix(1);
  if (text == "0") return std::chrono::nanoseconds(0);
  if (text.empty()) return std::nullopt;
  constexpr double kMost = static_cast<double>(std::numeric_limits<std::int64_t>::max()) / 2;
  double total = 0;  // settings are far from where a double stops counting single nanoseconds
  while (!text.empty()) {
    const std::size_t length = std::min(text.find_first_not_of("0123456789."), text.size());
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + length, number, std::chars_format::fixed);
    if (length == 0 || error != std::errc() || end != text.data() + length) return std::nullopt;
    text.remove_prefix(length);
    const std::int64_t unit = take_unit(text);
    if (unit == 0) return std::nullopt;
    total += number * static_cast<double>(unit);
    if (total > kMost) return std::nullopt;
  }
  return std::chrono::nanoseconds(static_cast<std::int64_t>(negative ? -total : total));
}

std::optional<HostPort> parse_host_port(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = core::parse_number<std::uint16_t>(text.substr(colon + 1));
  if (!port) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  // An IPv6 address without brackets would leave its last group as the port.
  if ((!bracketed && host.find(':') != std::string_view::npos) || host.find_first_of("[]/ \t") != std::string_view::npos) {
    return std::nullopt;
  }
  return HostPort{std::string(host), *port};
}

bool is_loopback(std::string_view host) noexcept {
  if (host == "::1" || host == "localhost") return true;
  // Only a whole dotted IPv4 address counts: "127.example.org" is a name like any other.
  return host.substr(0, 4) == "127." && host.find_first_not_of("0123456789.") == std::string_view::npos &&
         std::count(host.begin(), host.end(), '.') == 3;
}

std::string Diagnostic::to_string() const {
  std::string all = core::escape_control(file);
  if (line > 0) all += (all.empty() ? "line " : ":") + std::to_string(line) + ":" + std::to_string(column);
  return all.empty() ? text : all + ": " + text;
}

}  // namespace sandbox::server
