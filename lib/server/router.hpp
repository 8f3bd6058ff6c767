#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// Which route a request is for, and what to answer when it is for none. Sans-I/O; knows no handler.
namespace sandbox::server {

enum class Route : std::uint8_t {
  create_sandbox, list_sandboxes, get_sandbox, destroy_sandbox, sandbox_stats, pause_sandbox, resume_sandbox, session,
  expose_port, close_port, list_ports, connect_port, proxy_port,
  save_template, list_templates, get_template, delete_template,
  list_profiles, events, event_history,
  list_pools, resize_pool, flush_pool,
  health, metrics,
};

/// Who may use a route.
enum class Guard : std::uint8_t {
  none,    ///< everybody
  tenant,  ///< identity or token, when the daemon asks for one
  admin,   ///< peers on the unix socket
};

struct Match {
  enum class Kind : std::uint8_t { route, not_found, wrong_method, redirect } kind = Kind::not_found;
  Route route = Route::health;
  Guard guard = Guard::none;
  /// The route for metrics and logs, "/sandboxes/:id/ws"; "other" for what is no route: a bounded set.
  std::string_view pattern = "other";
  std::string id;      ///< {id} or {profile}, decoded
  std::string port;    ///< {port}, decoded, unchecked
  std::string rest;    ///< proxy_port: the path for upstream, still encoded; at least "/"
  std::string allow;   ///< wrong_method: value of the Allow header
  std::string location;  ///< redirect: the cleaned path, encoded
};

/// `raw_path` as sent, without the query. Trailing slashes count; doubled slashes and dot segments are a redirect to the
/// clean path; HEAD goes where GET goes. `websocket`: the request asks for an upgrade, which decides whether
/// …/ports/{port}/connect is ours or the application's.
Match match_route(std::string_view method, std::string_view raw_path, bool websocket);

}  // namespace sandbox::server
