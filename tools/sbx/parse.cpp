#include "parse.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "text.hpp"

namespace sbx {

using sandbox::ByteCount;
using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

/// Takes a decimal number (no sign, no exponent) off the front of `text`.
std::optional<double> take_number(std::string_view& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  // from_chars also takes "inf", "nan" and a minus sign: none of them begins with a digit or a point.
  if (error != std::errc() || text.empty() || !(text[0] == '.' || (text[0] >= '0' && text[0] <= '9'))) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::string last_name(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const auto slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

std::string below(std::string_view workdir, std::string_view path) {
  if (!path.empty() && path.front() == '/') return std::string(path);
  std::string result(workdir);
  if (result.empty() || result.back() != '/') result += '/';
  return result.append(path);
}

}  // namespace

Result<ByteCount> parse_size(std::string_view text) {
  const std::string whole(text);
  const auto bad = [&] { return invalid("'" + whole + "' is not a size; write for example 512m, 2g or 65536"); };
  const auto number = take_number(text);
  if (!number) return bad();
  const std::string suffix = lower(text);
  int shift = -1;
  for (const auto& [name, bits] : {std::pair{"", 0}, {"b", 0}, {"k", 10}, {"kb", 10}, {"kib", 10}, {"m", 20}, {"mb", 20},
                                   {"mib", 20}, {"g", 30}, {"gb", 30}, {"gib", 30}, {"t", 40}, {"tb", 40}, {"tib", 40}}) {
    if (suffix == name) shift = bits;
  }
  if (shift < 0) return bad();
  const double bytes = std::floor(std::ldexp(*number, shift));
  if (bytes < 1) return invalid("a size of zero is refused; there is no \"unlimited\"");
  if (bytes >= 0x1p63) return invalid("'" + whole + "' is too large");
  return ByteCount(static_cast<std::uint64_t>(bytes));
}

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const std::string whole(text);
  const auto bad = [&] { return invalid("'" + whole + "' is not a duration; write for example 500ms, 10s or 1m30s"); };
  double total = 0;  // milliseconds
  bool first = true;
  if (text.empty()) return bad();
  while (!text.empty()) {
    const auto number = take_number(text);
    if (!number) return bad();
    std::size_t length = 0;
    while (length < text.size() && text[length] != '.' && !(text[length] >= '0' && text[length] <= '9')) ++length;
    const std::string unit = lower(text.substr(0, length));
    text.remove_prefix(length);
    double factor = 0;
    if (unit == "ms") factor = 1;
    else if (unit == "s" || (unit.empty() && first && text.empty())) factor = 1000;
    else if (unit == "m" || unit == "min") factor = 60e3;
    else if (unit == "h") factor = 3600e3;
    else if (unit == "us") factor = 1e-3;
    else return bad();
    total += *number * factor;
    first = false;
  }
  if (!(total > 0)) return invalid("a duration of zero is refused");
  if (total > 365.0 * 24 * 3600e3) return invalid("'" + whole + "' is longer than a year");
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::ceil(total)));
}

Result<std::pair<std::string, std::string>> parse_env(std::string_view text) {
  const auto equals = text.find('=');
  const std::string name(text.substr(0, equals));
  if (name.empty()) return invalid("'" + std::string(text) + "': the variable's name is empty; write NAME=VALUE");
  if (equals != std::string_view::npos) return std::pair(name, std::string(text.substr(equals + 1)));
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return invalid("--env " + name + ": not set here; write " + name + "=VALUE");
  return std::pair(name, std::string(value));
}

Result<Transfer> parse_upload(std::string_view text, std::string_view workdir) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size()) {
    return invalid("--upload '" + std::string(text) + "': write HOST:BOX, for example ./data:/root/data");
  }
  auto inside = text.substr(colon + 1);
  if (inside == "." || inside.ends_with("/.")) inside.remove_suffix(1);
  Transfer transfer{std::string(text.substr(0, colon)), below(workdir, inside)};
  if (transfer.box.back() == '/') transfer.box += last_name(transfer.host);
  return transfer;
}

Result<Transfer> parse_download(std::string_view text, std::string_view workdir) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size()) {
    return invalid("--download '" + std::string(text) + "': write BOX:HOST, for example /root/out.txt:./out.txt");
  }
  Transfer transfer{std::string(text.substr(colon + 1)), below(workdir, text.substr(0, colon))};
  if (transfer.host == ".") transfer.host = "./";
  if (transfer.host.back() == '/') transfer.host += last_name(transfer.box);
  return transfer;
}

Result<sandbox::Network> parse_network(std::string_view text) {
  if (text == "none") return sandbox::Network::none;
  if (text == "bridge") return sandbox::Network::bridge;
  return invalid("--net '" + std::string(text) + "': choose none (loopback only) or bridge (public addresses)");
}

}  // namespace sbx
