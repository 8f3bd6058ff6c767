#include "agent/glob.hpp"

#include <cstdint>

#include "protocol/messages.hpp"

namespace sandbox::agent {

namespace {

/// The character at `at`, which moves behind it. Bytes that are no UTF-8 stand for themselves, above Unicode.
std::uint32_t take_character(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::uint32_t lead = byte(at);
  const std::size_t more = lead >= 0xc2 && lead < 0xe0 ? 1 : lead >= 0xe0 && lead < 0xf0 ? 2 : lead >= 0xf0 && lead < 0xf5 ? 3 : 0;
  std::uint32_t value = more == 1 ? lead & 0x1f : more == 2 ? lead & 0x0f : lead & 0x07;
  if (more && at + more < text.size()) {
    std::size_t i = 1;
    for (; i <= more && (byte(at + i) & 0xc0) == 0x80; ++i) value = value << 6 | (byte(at + i) & 0x3f);
    if (i > more) {
      at += more + 1;
      return value;
    }
  }
  ++at;
  return lead < 0x80 ? lead : 0x110000 + lead;
}

/// Matches the class that starts at pattern[at] == '['. Sets `at` behind it; -1: not a class (no closing bracket).
int match_class(std::string_view pattern, std::size_t& at, std::uint32_t character) {
  std::size_t i = at + 1;
  bool negated = false, found = false, first = true;
  if (i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^')) {
    negated = true;
    ++i;
  }
  while (i < pattern.size()) {
    if (pattern[i] == ']' && !first) {
      at = i + 1;
      return found != negated;
    }
    first = false;
    if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
    const std::uint32_t low = take_character(pattern, i);
    std::uint32_t high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      ++i;
      if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
      high = take_character(pattern, i);
    }
    if (low <= character && character <= high) found = true;
  }
  return -1;
}

}  // namespace

bool match_name(std::string_view pattern, std::string_view name) {
  // Greedy with one point to come back to: the last star. Linear in practice, quadratic at worst.
  std::size_t p = 0, n = 0, star_p = std::string_view::npos, star_n = 0;
  while (n < name.size()) {
    bool good = false;
    if (p < pattern.size()) {
      if (pattern[p] == '*') {
        star_p = ++p;
        star_n = n;
        continue;
      }
      std::size_t after_n = n, after_p = p;
      const std::uint32_t character = take_character(name, after_n);
      if (pattern[p] == '?') {
        after_p = p + 1;
        good = true;
      } else {
        const int in_class = pattern[p] == '[' ? match_class(pattern, after_p, character) : -1;
        if (in_class >= 0) {
          good = in_class == 1;
        } else {
          after_p = p;
          if (pattern[p] == '\\' && p + 1 < pattern.size()) ++after_p;
          good = take_character(pattern, after_p) == character;
        }
      }
      if (good) {
        n = after_n;
        p = after_p;
        continue;
      }
    }
    if (star_p == std::string_view::npos) return false;
    p = star_p;
    take_character(name, star_n);
    n = star_n;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Result<Glob> Glob::compile(std::string_view pattern) {
  const auto refuse = [](const char* why) { return Error(ErrorCode::invalid_argument, why).with_operation("fs.find"); };
  constexpr std::size_t kMaxComponents = 256;
  if (pattern.size() > protocol::kMaxPath) return refuse("pattern is longer than 4095 bytes");
  if (pattern.find('\0') != std::string_view::npos) return refuse("pattern contains a NUL byte");
  if (pattern.starts_with('/')) return refuse("pattern must be relative to the root of the search");
  Glob glob;
  while (!pattern.empty()) {
    const auto slash = pattern.find('/');
    const auto component = pattern.substr(0, slash);
    pattern.remove_prefix(slash == std::string_view::npos ? pattern.size() : slash + 1);
    if (component.empty() || component == ".") continue;
    if (component == "..") return refuse("pattern must not contain \"..\"");
    if (component == "**" && !glob.components_.empty() && glob.components_.back() == "**") continue;
    if (glob.components_.size() == kMaxComponents) return refuse("pattern has more than 256 components");
    glob.components_.emplace_back(component);
  }
  return glob;
}

std::vector<bool> Glob::states_after(std::string_view path) const {
  // State i: the first i components of the pattern are used up. "**" may be skipped and may be stayed in.
  std::vector<bool> now(components_.size() + 1), next;
  const auto skip_stars = [&](std::vector<bool>& states) {
    for (std::size_t i = 0; i < components_.size(); ++i)
      if (states[i] && components_[i] == "**") states[i + 1] = true;
  };
  now[0] = true;
  skip_stars(now);
  while (!path.empty()) {
    const auto slash = path.find('/');
    const auto name = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    next.assign(components_.size() + 1, false);
    for (std::size_t i = 0; i < components_.size(); ++i) {
      if (!now[i]) continue;
      if (components_[i] == "**") next[i] = true;
      else if (match_name(components_[i], name)) next[i + 1] = true;
    }
    skip_stars(next);
    now.swap(next);
  }
  return now;
}

bool Glob::matches(std::string_view path) const { return components_.empty() || states_after(path).back(); }

bool Glob::may_match_below(std::string_view path) const {
  if (components_.empty()) return true;
  const auto states = states_after(path);
  for (std::size_t i = 0; i < components_.size(); ++i)
    if (states[i]) return true;
  return false;
}

}  // namespace sandbox::agent
