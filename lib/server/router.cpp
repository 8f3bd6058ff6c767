#include "server/router.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "http/message.hpp"

namespace sandbox::server {
namespace {

struct Entry {
  std::string_view method;
  std::string_view pattern;  ///< segments; one that begins with ':' takes any that is not empty
  Route route;
  Guard guard = Guard::tenant;
};

constexpr Entry kEntries[] = {
    {"POST", "/sandboxes", Route::create_sandbox},
    {"GET", "/sandboxes", Route::list_sandboxes},
    {"GET", "/sandboxes/:id", Route::get_sandbox},
    {"DELETE", "/sandboxes/:id", Route::destroy_sandbox},
    {"GET", "/sandboxes/:id/stats", Route::sandbox_stats},
    {"POST", "/sandboxes/:id/pause", Route::pause_sandbox},
    {"POST", "/sandboxes/:id/resume", Route::resume_sandbox},
    {"GET", "/sandboxes/:id/ws", Route::session},
    {"GET", "/sandboxes/:id/ports", Route::list_ports},
    {"POST", "/templates", Route::save_template},
    {"GET", "/templates", Route::list_templates},
    {"GET", "/templates/:id", Route::get_template},
    {"DELETE", "/templates/:id", Route::delete_template},
    {"GET", "/profiles", Route::list_profiles},
    {"GET", "/events", Route::events},
    {"GET", "/events/history", Route::event_history},
    {"GET", "/pools", Route::list_pools, Guard::admin},
    {"PUT", "/pools/:profile", Route::resize_pool, Guard::admin},
    {"POST", "/pools/:profile/flush", Route::flush_pool, Guard::admin},
    {"GET", "/health", Route::health, Guard::none},
    {"GET", "/metrics", Route::metrics, Guard::none},
};

constexpr std::string_view kProxyPattern = "/sandboxes/:id/ports/:port/*";
constexpr std::string_view kExposePattern = "/sandboxes/:id/ports/:port/expose";
constexpr std::string_view kConnectPattern = "/sandboxes/:id/ports/:port/connect";

/// The parts between slashes; `path` begins with one.
std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> segments;
  path.remove_prefix(1);
  for (;;) {
    const std::size_t slash = path.find('/');
    segments.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return segments;
    path.remove_prefix(slash + 1);
  }
}

bool is_dots(std::string_view segment) { return segment == "." || segment == ".."; }

/// The path without empty and dot segments, a trailing slash kept; nothing when it is clean already.
std::string cleaned(const std::vector<std::string_view>& segments, const std::vector<std::string>& decoded, bool& dirty) {
  dirty = false;
  std::vector<std::string_view> kept;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const bool last = i + 1 == segments.size();
    if (decoded[i].empty() && !last) dirty = true;
    else if (decoded[i] == ".") dirty = true;
    else if (decoded[i] == "..") {
      dirty = true;
      if (!kept.empty()) kept.pop_back();
    } else if (!decoded[i].empty()) kept.push_back(segments[i]);
  }
  if (!dirty) return {};
  std::string path;
  for (const std::string_view segment : kept) (path += '/') += segment;
  if (path.empty() || decoded.back().empty() || is_dots(decoded.back())) path += '/';
  return path;
}

bool matches(std::string_view pattern, const std::vector<std::string>& decoded) {
  const auto wanted = split(pattern);
  if (wanted.size() != decoded.size()) return false;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i].starts_with(':') ? decoded[i].empty() : wanted[i] != decoded[i]) return false;
  }
  return true;
}

bool takes(std::string_view route_method, std::string_view method) {
  return route_method == method || (route_method == "GET" && method == "HEAD");
}

Match found(Route route, Guard guard, std::string_view pattern) {
  Match match;
  match.kind = Match::Kind::route;
  match.route = route;
  match.guard = guard;
  match.pattern = pattern;
  return match;
}

/// /sandboxes/{id}/ports/{port} and below it.
Match match_port(std::string_view method, std::string_view raw_path, const std::vector<std::string_view>& segments,
                 std::vector<std::string>& decoded, bool websocket) {
  Match match = found(Route::proxy_port, Guard::tenant, kProxyPattern);
  const bool one_below = decoded.size() == 5;
  if (one_below && decoded[4] == "expose" && (method == "POST" || method == "DELETE")) {
    match = found(method == "POST" ? Route::expose_port : Route::close_port, Guard::tenant, kExposePattern);
  } else if (one_below && decoded[4] == "connect" && method == "GET" && websocket) {
    match = found(Route::connect_port, Guard::tenant, kConnectPattern);
  } else {
    std::size_t prefix = 0;
    for (std::size_t i = 0; i < 4; ++i) prefix += 1 + segments[i].size();
    match.rest = raw_path.substr(prefix);
    if (match.rest.empty()) match.rest = "/";
  }
  match.id = std::move(decoded[1]);
  match.port = std::move(decoded[3]);
  return match;
}

}  // namespace

Match match_route(std::string_view method, std::string_view raw_path, bool websocket) {
  Match match;
  if (!raw_path.starts_with('/')) return match;
  const auto segments = split(raw_path);
  std::vector<std::string> decoded;
  decoded.reserve(segments.size());
  for (const std::string_view segment : segments) {
    auto text = http::percent_decode(segment);
    if (!text) return match;
    decoded.push_back(*std::move(text));
  }
  bool dirty = false;
  if (std::string clean = cleaned(segments, decoded, dirty); dirty) {
    match.kind = Match::Kind::redirect;
    match.location = std::move(clean);
    return match;
  }
  if (decoded.size() >= 4 && decoded[0] == "sandboxes" && decoded[2] == "ports" && !decoded[1].empty() && !decoded[3].empty())
    return match_port(method, raw_path, segments, decoded, websocket);

  std::vector<std::string_view> allowed;
  std::string_view pattern;
  for (const Entry& entry : kEntries) {
    if (!matches(entry.pattern, decoded)) continue;
    if (takes(entry.method, method)) {
      match = found(entry.route, entry.guard, entry.pattern);
      if (decoded.size() > 1 && split(entry.pattern)[1].starts_with(':')) match.id = std::move(decoded[1]);
      return match;
    }
    pattern = entry.pattern;
    allowed.push_back(entry.method);
    if (entry.method == "GET") allowed.push_back("HEAD");
  }
  if (allowed.empty()) return match;
  match.kind = Match::Kind::wrong_method;
  match.pattern = pattern;
  std::sort(allowed.begin(), allowed.end());
  for (const std::string_view one : allowed) (match.allow += match.allow.empty() ? "" : ", ") += one;
  return match;
}

}  // namespace sandbox::server
