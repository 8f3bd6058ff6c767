#include "agent/glob.hpp"

#include <algorithm>
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

namespace {

/// A trail to the end of `path`.
Glob::Trail trail_along(const Glob& glob, std::string_view path) {
  Glob::Trail trail(glob);
  for (std::size_t depth = 1; !path.empty(); ++depth) {
    const auto slash = path.find('/');
    trail.look(depth, path.substr(0, slash));
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return trail;
}

constexpr bool has(const std::uint64_t* bits, std::size_t i) noexcept { return bits[i / 64] >> (i % 64) & 1; }
constexpr void set(std::uint64_t* bits, std::size_t i) noexcept { bits[i / 64] |= std::uint64_t{1} << (i % 64); }

}  // namespace

bool Glob::matches(std::string_view path) const { return trail_along(*this, path).matches(); }
bool Glob::may_match_below(std::string_view path) const { return trail_along(*this, path).may_match_below(); }

Glob::Trail::Trail(const Glob& glob) : glob_(glob), words_(glob.components_.size() / 64 + 1), states_(words_) {
  set(states(0), 0);
  skip_stars(states(0));
}

/// "**" may be skipped and may be stayed in.
void Glob::Trail::skip_stars(std::uint64_t* states) const noexcept {
  for (std::size_t i = 0; i < glob_.components_.size(); ++i)
    if (has(states, i) && glob_.components_[i] == "**") set(states, i + 1);
}

void Glob::Trail::look(std::size_t depth, std::string_view name) {
  const auto& components = glob_.components_;
  if (components.empty()) return;
  depth_ = depth;
  if (states_.size() < (depth + 1) * words_) states_.resize((depth + 1) * words_);
  const std::uint64_t* above = states(depth - 1);
  std::uint64_t* here = states(depth);
  std::fill_n(here, words_, 0);
  for (std::size_t i = 0; i < components.size(); ++i) {
    if (!has(above, i)) continue;
    ++steps_;
    if (components[i] == "**") set(here, i);
    else if (match_name(components[i], name)) set(here, i + 1);
  }
  skip_stars(here);
}

bool Glob::Trail::matches() const noexcept {
  const std::size_t count = glob_.components_.size();
  return count == 0 || has(states_.data() + depth_ * words_, count);
}

bool Glob::Trail::may_match_below() const noexcept {
  const std::size_t count = glob_.components_.size();
  if (count == 0) return true;
  for (std::size_t i = 0; i < count; ++i)
    if (has(states_.data() + depth_ * words_, i)) return true;
  return false;
}

}  // namespace sandbox::agent
