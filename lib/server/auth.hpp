#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <sandbox/error.hpp>

#include "core/clock.hpp"
#include "http/message.hpp"
#include "server/config.hpp"
#include "server/rate_limit.hpp"

/// Who sends a request. sandbox-protocol section 1.9, and two extensions of ours: nonces and bearer tokens.
///
/// Multi-tenant: the headers X-Sandbox-Identity, -Timestamp, -Signature (and -Max-Concurrent, -Max-TTL, -Max-Templates)
/// are an Ed25519 signature over METHOD, PATH, Identity, Max-Concurrent, Max-TTL, Max-Templates, Timestamp, joined by
/// newlines, absent ones empty. A client may also send X-Sandbox-Nonce (1…128 printable ASCII characters): then the nonce
/// is signed as an eighth line and the request is accepted once. multi_tenant.require_nonce makes it compulsory.
namespace sandbox::server {

struct AuthRequest {
  std::string_view method;
  std::string_view path;          ///< decoded, without the query
  const http::Headers& headers;
  bool unix_peer = false;
  std::string_view peer_address;  ///< IP without port; "@" for unix peers
};

/// Somebody who may go on.
struct Caller {
  std::string identity;  ///< empty: none; then nothing is hidden from this caller
  std::optional<std::uint32_t> max_concurrent;
  std::optional<std::chrono::seconds> max_ttl;
  std::optional<std::uint32_t> max_templates;
  bool unix_peer = false;
  std::string rate_key;  ///< for the creation limiter: identity, else address
  /// Whether an object of that owner exists for this caller.
  bool may_see(std::string_view owner) const noexcept { return identity.empty() || identity == owner; }
};

/// What to answer somebody who may not.
struct AuthRefusal {
  unsigned status = 401;
  ErrorCode code = ErrorCode::unauthenticated;
  std::string text;
  unsigned retry_after = 0;  ///< seconds; 0: no such header
};
using AuthVerdict = std::variant<Caller, AuthRefusal>;

struct AuthOptions {
  bool multi_tenant = false;
  std::vector<PublicKey> public_keys;  ///< any of them may have signed
  bool require_nonce = false;
  std::vector<TokenHash> tokens;       ///< single-tenant: asked of TCP peers when there are any
  std::size_t limiter_entries = 10000;
  static AuthOptions from(const Config& config);
};

/// Remembers what was accepted until it would be too old anyway. When it is full, `add` refuses: a flood of valid requests
/// cannot push a remembered one out. Sans-I/O, one thread.
class ReplayCache {
 public:
  explicit ReplayCache(std::size_t entries) : entries_(entries) {}
  enum class Outcome : std::uint8_t { fresh, replayed, full };
  Outcome add(const std::array<std::uint8_t, 32>& digest, core::TimePoint now, core::Duration keep);
  std::size_t size() const noexcept { return seen_.size(); }

 private:
  using Digest = std::array<std::uint8_t, 32>;
  std::size_t entries_;
  std::set<Digest> seen_;
  std::deque<std::pair<core::TimePoint, Digest>> order_;  ///< by expiry; `keep` is the same for all
};

/// One per daemon; one thread.
class Authenticator {
 public:
  /// `clock` must outlive it. It measures windows; what timestamps are compared with is given to check().
  Authenticator(AuthOptions options, const core::Clock& clock);
  /// New keys and tokens; failures counted and nonces seen so far stay.
  void set_options(AuthOptions options);

  /// For the guard `tenant`. In single-user mode identity and limit headers are believed unsigned: they only narrow what
  /// the caller sees and may do. Costs about 60 µs for each key tried when a signature is checked.
  AuthVerdict check(const AuthRequest& request, std::chrono::system_clock::time_point now);
  /// A caller of a route without a guard, or an admin route: nothing is checked.
  static Caller anonymous(const AuthRequest& request);

 private:
  AuthVerdict check_signature(const AuthRequest& request, std::chrono::system_clock::time_point now);
  AuthVerdict check_token(const AuthRequest& request);
  AuthRefusal fail(const AuthRequest& request, std::string text);

  AuthOptions options_;
  const core::Clock* clock_;
  RateLimiter failures_;
  ReplayCache replays_;
};

/// Strict decoding of padded standard base64; nothing when it is not that or longer than `most` bytes decoded.
std::optional<std::string> decode_base64(std::string_view text, std::size_t most);
/// "sha256:<64 hex digits>" or the token itself.
std::optional<TokenHash> hash_token(std::string_view configured);

}  // namespace sandbox::server
