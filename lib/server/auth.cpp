#include "server/auth.hpp"

#include <sodium.h>

#include <algorithm>
#include <limits>

#include "core/text.hpp"

namespace sandbox::server {
namespace {

constexpr auto kWindow = std::chrono::seconds(30);     ///< a timestamp may be off by, either way
constexpr std::uint32_t kMaxFailures = 10;             ///< of one address in a minute
constexpr std::size_t kReplayEntries = 200'000;        ///< about 20 MiB
constexpr std::size_t kMaxNonce = 128;
constexpr std::size_t kLeastToken = 16;
constexpr std::size_t kMaxIdentity = 256;              ///< it is kept with every sandbox and in the limiter

/// The header's value only when it came exactly once: two of them could be read differently by a proxy in front.
std::string_view single(const http::Headers& headers, std::string_view name) {
  return headers.count(name) == 1 ? headers.get(name) : std::string_view();
}

template <class Integer>
std::optional<Integer> positive(const http::Headers& headers, std::string_view name) {
  const auto number = core::parse_number<std::int64_t>(single(headers, name));
  if (!number || *number <= 0) return std::nullopt;
  return static_cast<Integer>(std::min<std::int64_t>(*number, std::numeric_limits<std::int32_t>::max()));
}

Caller caller_of(const AuthRequest& request, std::string_view identity) {
  Caller caller;
  caller.identity = std::string(identity);
  caller.max_concurrent = positive<std::uint32_t>(request.headers, "X-Sandbox-Max-Concurrent");
  if (const auto ttl = positive<std::int64_t>(request.headers, "X-Sandbox-Max-TTL")) caller.max_ttl = std::chrono::seconds(*ttl);
  caller.max_templates = positive<std::uint32_t>(request.headers, "X-Sandbox-Max-Templates");
  caller.unix_peer = request.unix_peer;
  // The prefix keeps a tenant from choosing a name that is somebody's address.
  caller.rate_key = identity.empty() ? "ip:" + std::string(request.peer_address) : "id:" + std::string(identity);
  return caller;
}

AuthRefusal too_many() {
  return {429, ErrorCode::resource_exhausted, "too many authentication failures", 60};
}

std::string signed_text(const AuthRequest& request, std::string_view nonce) {
  std::string text;
  const auto line = [&](std::string_view part) {
    if (!text.empty()) text += '\n';
    text += part;
  };
  line(request.method);
  line(request.path);
  for (const char* name : {"X-Sandbox-Identity", "X-Sandbox-Max-Concurrent", "X-Sandbox-Max-TTL", "X-Sandbox-Max-Templates",
                           "X-Sandbox-Timestamp"}) {
    line(single(request.headers, name));
  }
  if (!nonce.empty()) line(nonce);
  return text;
}

bool printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

template <std::size_t Size>
std::array<std::uint8_t, Size> sha256(std::string_view text) {
  static_assert(Size == crypto_hash_sha256_BYTES);
  std::array<std::uint8_t, Size> digest;
  crypto_hash_sha256(digest.data(), reinterpret_cast<const unsigned char*>(text.data()), text.size());
  return digest;
}

}  // namespace

std::optional<std::string> decode_base64(std::string_view text, std::size_t most) {
  std::string raw(most + 1, '\0');
  std::size_t size = 0;
  const char* end = nullptr;
  if (sodium_base642bin(reinterpret_cast<unsigned char*>(raw.data()), raw.size(), text.data(), text.size(), nullptr, &size, &end,
                        sodium_base64_VARIANT_ORIGINAL) != 0 ||
      end != text.data() + text.size() || size > most) {
    return std::nullopt;
  }
  raw.resize(size);
  return raw;
}

std::optional<TokenHash> hash_token(std::string_view configured) {
  constexpr std::string_view kPrefix = "sha256:";
  if (configured.substr(0, kPrefix.size()) == kPrefix) {
    TokenHash hash;
    std::size_t size = 0;
    const std::string_view digits = configured.substr(kPrefix.size());
    if (digits.size() != 64 || sodium_hex2bin(hash.data(), hash.size(), digits.data(), digits.size(), nullptr, &size, nullptr) != 0 ||
        size != hash.size()) {
      return std::nullopt;
    }
    return hash;
  }
  if (configured.size() < kLeastToken || !printable(configured)) return std::nullopt;
  return sha256<32>(configured);
}

AuthOptions AuthOptions::from(const Config& config) {
  return {config.multi_tenant.enabled, config.multi_tenant.public_keys, config.multi_tenant.require_nonce, config.server.tokens,
          config.limits.rate_limit_entries};
}

ReplayCache::Outcome ReplayCache::add(const Digest& digest, core::TimePoint now, core::Duration keep) {
  while (!order_.empty() && order_.front().first <= now) {
    seen_.erase(order_.front().second);
    order_.pop_front();
  }
  if (seen_.count(digest) > 0) return Outcome::replayed;
  if (seen_.size() >= entries_) return Outcome::full;
  seen_.insert(digest);
  order_.emplace_back(now + keep, digest);
  return Outcome::fresh;
}

Authenticator::Authenticator(AuthOptions options, const core::Clock& clock)
    : options_(std::move(options)),
      clock_(&clock),
      failures_({kMaxFailures, std::chrono::seconds(60), options_.limiter_entries}, clock),
      replays_(kReplayEntries) {}

void Authenticator::set_options(AuthOptions options) {
  options_ = std::move(options);
  failures_.set_options({kMaxFailures, std::chrono::seconds(60), options_.limiter_entries});
}

Caller Authenticator::anonymous(const AuthRequest& request) { return caller_of(request, {}); }

AuthVerdict Authenticator::check(const AuthRequest& request, std::chrono::system_clock::time_point now) {
  if (single(request.headers, "X-Sandbox-Identity").size() > kMaxIdentity) {
    return AuthRefusal{400, ErrorCode::invalid_argument, "X-Sandbox-Identity is too long", 0};
  }
  if (options_.multi_tenant) return check_signature(request, now);
  if (!options_.tokens.empty() && !request.unix_peer) return check_token(request);
  return caller_of(request, single(request.headers, "X-Sandbox-Identity"));
}

AuthRefusal Authenticator::fail(const AuthRequest& request, std::string text) {
  failures_.record(request.peer_address);
  return {401, ErrorCode::unauthenticated, std::move(text), 0};
}

AuthVerdict Authenticator::check_token(const AuthRequest& request) {
  if (failures_.blocked(request.peer_address)) return too_many();
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view header = single(request.headers, "Authorization");
  bool known = false;
  if (header.size() > kBearer.size() && http::same_token(header.substr(0, kBearer.size() - 1), "Bearer") && header[6] == ' ') {
    // Hashes are compared, all of them, each in constant time: neither a prefix nor the position of a token shows.
    const TokenHash hash = sha256<32>(header.substr(kBearer.size()));
    for (const TokenHash& token : options_.tokens) known |= sodium_memcmp(hash.data(), token.data(), hash.size()) == 0;
  }
  if (!known) return fail(request, "authentication failed");
  return caller_of(request, single(request.headers, "X-Sandbox-Identity"));
}

AuthVerdict Authenticator::check_signature(const AuthRequest& request, std::chrono::system_clock::time_point now) {
  using namespace std::chrono;
  if (failures_.blocked(request.peer_address)) return too_many();
  const http::Headers& headers = request.headers;
  const auto refuse = [&] { return fail(request, "authentication failed"); };
  // Lines are what is signed: a path with a line break in it could shift one value into another's place.
  if (request.path.find('\n') != request.path.npos) return refuse();

  const auto signature = decode_base64(single(headers, "X-Sandbox-Signature"), crypto_sign_BYTES);
  if (!signature || signature->size() != crypto_sign_BYTES) return refuse();
  const auto timestamp = core::parse_number<std::int64_t>(single(headers, "X-Sandbox-Timestamp"));
  const std::int64_t seconds_now = floor<seconds>(now.time_since_epoch()).count();
  // No subtraction: the timestamp may be any 64-bit number.
  if (!timestamp || *timestamp < seconds_now - kWindow.count() || *timestamp > seconds_now + kWindow.count()) return refuse();

  const std::string_view nonce = single(headers, "X-Sandbox-Nonce");
  const bool has_nonce = headers.count("X-Sandbox-Nonce") > 0;
  if (has_nonce && (nonce.empty() || nonce.size() > kMaxNonce || !printable(nonce))) return refuse();
  if (!has_nonce && options_.require_nonce) return refuse();

  const std::string text = signed_text(request, nonce);
  const bool valid = std::any_of(options_.public_keys.begin(), options_.public_keys.end(), [&](const PublicKey& key) {
    return crypto_sign_verify_detached(reinterpret_cast<const unsigned char*>(signature->data()),
                                       reinterpret_cast<const unsigned char*>(text.data()), text.size(), key.data()) == 0;
  });
  if (!valid) return refuse();
  const std::string_view identity = single(headers, "X-Sandbox-Identity");
  if (identity.empty()) return fail(request, "X-Sandbox-Identity header required");

  if (has_nonce) {
    // What was signed, not the signature: of one text there are many for whoever holds the key. A timestamp from the
    // future is good for up to two windows.
    switch (replays_.add(sha256<32>(text), clock_->now(), 2 * kWindow + seconds(1))) {
      case ReplayCache::Outcome::fresh: break;
      case ReplayCache::Outcome::replayed: return refuse();
      case ReplayCache::Outcome::full:
        return AuthRefusal{503, ErrorCode::resource_exhausted, "too many signed requests, try again later", 2};
    }
  }
  return caller_of(request, identity);
}

}  // namespace sandbox::server
