#include "server/auth.hpp"

#include <gtest/gtest.h>
#include <sodium.h>

#include "clock.hpp"

using namespace sandbox;
using namespace sandbox::server;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t kNow = 1767225600;
const auto kWall = std::chrono::system_clock::time_point(std::chrono::seconds(kNow));

/// The key pair of the specification's vector: seed 00…1f.
struct Key {
  explicit Key(unsigned char first = 0) {
    unsigned char seed[32];
    for (unsigned char i = 0; i < 32; ++i) seed[i] = static_cast<unsigned char>(first + i);
    crypto_sign_seed_keypair(open.data(), secret, seed);
  }
  std::string sign(const std::string& text) const {
    unsigned char signature[64];
    crypto_sign_detached(signature, nullptr, reinterpret_cast<const unsigned char*>(text.data()), text.size(), secret);
    char base64[128];
    return sodium_bin2base64(base64, sizeof base64, signature, sizeof signature, sodium_base64_VARIANT_ORIGINAL);
  }
  PublicKey open;
  unsigned char secret[64];
};

http::Headers signed_headers(const Key& key, std::int64_t at = kNow, const std::string& nonce = {}, const std::string& identity = "acme") {
  std::string text = "POST\n/sandboxes\n" + identity + "\n5\n\n\n" + std::to_string(at);
  if (!nonce.empty()) text += "\n" + nonce;
  http::Headers headers{{"X-Sandbox-Identity", identity},
                        {"X-Sandbox-Max-Concurrent", "5"},
                        {"X-Sandbox-Timestamp", std::to_string(at)},
                        {"x-sandbox-signature", key.sign(text)}};
  if (!nonce.empty()) headers.add("X-Sandbox-Nonce", nonce);
  return headers;
}

AuthOptions multi_tenant(std::vector<PublicKey> keys) {
  AuthOptions options;
  options.multi_tenant = true;
  options.public_keys = std::move(keys);
  return options;
}

struct Authentication : ::testing::Test {
  AuthVerdict ask(Authenticator& authenticator, const http::Headers& headers, std::string_view path = "/sandboxes",
                  std::string_view method = "POST", std::string_view peer = "10.0.0.1", bool unix_peer = false) {
    return authenticator.check({method, path, headers, unix_peer, peer}, kWall);
  }
  unsigned status(const AuthVerdict& verdict) {
    const auto* refusal = std::get_if<AuthRefusal>(&verdict);
    return refusal == nullptr ? 200 : refusal->status;
  }
  ManualClock clock;
  Key key;
};

TEST_F(Authentication, TakesTheVectorOfTheSpecification) {
  const auto open = decode_base64("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=", 32);
  ASSERT_TRUE(open);
  EXPECT_EQ(std::string(key.open.begin(), key.open.end()), *open);
  const http::Headers headers{
      {"X-Sandbox-Identity", "acme"},
      {"X-Sandbox-Max-Concurrent", "5"},
      {"X-Sandbox-Timestamp", "1767225600"},
      {"X-Sandbox-Signature", "y40ZLjeiAvS6FZgSBYBmvxi0utgrTAEHhYl9yjynM5vlfpHRYrup4CSJ742S8Zri6GvXXkfxUybJ7jcgl2GOCg=="}};
  Authenticator authenticator(multi_tenant({key.open}), clock);
  const AuthVerdict verdict = ask(authenticator, headers);
  ASSERT_TRUE(std::holds_alternative<Caller>(verdict));
  const auto& caller = std::get<Caller>(verdict);
  EXPECT_EQ(caller.identity, "acme");
  EXPECT_EQ(caller.max_concurrent, 5u);
  EXPECT_FALSE(caller.max_ttl || caller.max_templates);
  EXPECT_TRUE(caller.may_see("acme"));
  EXPECT_FALSE(caller.may_see("other"));
  EXPECT_FALSE(caller.may_see(""));
}

TEST_F(Authentication, AnyOfTheKeysMayHaveSigned) {
  const Key old(40), other(80);
  Authenticator authenticator(multi_tenant({key.open, old.open}), clock);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key))), 200u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(old))), 200u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(other))), 401u);
}

TEST_F(Authentication, EverySignedValueIsBound) {
  Authenticator authenticator(multi_tenant({key.open}), clock);
  const http::Headers good = signed_headers(key);
  EXPECT_EQ(status(ask(authenticator, good, "/sandboxes", "POST", "1")), 200u);
  EXPECT_EQ(status(ask(authenticator, good, "/sandboxes", "GET", "2")), 401u);
  EXPECT_EQ(status(ask(authenticator, good, "/templates", "POST", "3")), 401u);
  for (const char* name : {"X-Sandbox-Identity", "X-Sandbox-Max-Concurrent", "X-Sandbox-Max-TTL", "X-Sandbox-Max-Templates"}) {
    http::Headers changed = good;
    changed.set(name, "9");
    EXPECT_EQ(status(ask(authenticator, changed, "/sandboxes", "POST", name)), 401u) << name;
  }
  http::Headers twice = good;  // a proxy in front might read the other one
  twice.add("X-Sandbox-Identity", "other");
  EXPECT_EQ(status(ask(authenticator, twice, "/sandboxes", "POST", "4")), 401u);
}

TEST_F(Authentication, ALineBreakInThePathCannotShiftValues) {
  Authenticator authenticator(multi_tenant({key.open}), clock);
  // Signed with a nonce that looks like a timestamp: eight lines. Shown without a nonce, path and identity merged.
  const std::string text = "POST\n/sandboxes\nacme\n5\n\n\n" + std::to_string(kNow) + "\n" + std::to_string(kNow);
  const http::Headers headers{{"X-Sandbox-Identity", "5"},
                              {"X-Sandbox-Max-Templates", std::to_string(kNow)},
                              {"X-Sandbox-Timestamp", std::to_string(kNow)},
                              {"X-Sandbox-Signature", key.sign(text)}};
  EXPECT_EQ(status(ask(authenticator, headers, "/sandboxes\nacme")), 401u);
}

TEST_F(Authentication, TimestampsCountForThirtySecondsEitherWay) {
  Authenticator authenticator(multi_tenant({key.open}), clock);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, kNow - 30))), 200u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, kNow + 30))), 200u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, kNow - 31))), 401u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, kNow + 31))), 401u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, std::numeric_limits<std::int64_t>::min()))), 401u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, std::numeric_limits<std::int64_t>::max()))), 401u);
}

TEST_F(Authentication, AnIdentityMustBeThere) {
  Authenticator authenticator(multi_tenant({key.open}), clock);
  const AuthVerdict verdict = ask(authenticator, signed_headers(key, kNow, {}, ""));
  ASSERT_EQ(status(verdict), 401u);
  EXPECT_EQ(std::get<AuthRefusal>(verdict).text, "X-Sandbox-Identity header required");
}

TEST_F(Authentication, TenFailuresBlockTheAddressForAMinute) {
  Authenticator authenticator(multi_tenant({key.open}), clock);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(status(ask(authenticator, {})), 401u);
  const AuthVerdict verdict = ask(authenticator, signed_headers(key));
  ASSERT_EQ(status(verdict), 429u);
  EXPECT_EQ(std::get<AuthRefusal>(verdict).text, "too many authentication failures");
  EXPECT_EQ(std::get<AuthRefusal>(verdict).retry_after, 60u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key), "/sandboxes", "POST", "10.0.0.2")), 200u);
  clock.advance(60s);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key))), 200u);
}

TEST_F(Authentication, WithANonceARequestCountsOnce) {
  Authenticator authenticator(multi_tenant({key.open}), clock);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, kNow, "n1"))), 200u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, kNow, "n1"))), 401u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, kNow, "n2"))), 200u);
  http::Headers stripped = signed_headers(key, kNow, "n2");
  stripped.remove("X-Sandbox-Nonce");
  EXPECT_EQ(status(ask(authenticator, stripped)), 401u) << "the nonce is signed";
  EXPECT_EQ(status(ask(authenticator, signed_headers(key))), 200u) << "old clients send none";
  EXPECT_EQ(status(ask(authenticator, signed_headers(key))), 200u);
  clock.advance(59s);  // a stamp from the future is still good now: it must not be forgotten
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, kNow, "n1"))), 401u);
}

TEST_F(Authentication, NoncesCanBeRequired) {
  AuthOptions options = multi_tenant({key.open});
  options.require_nonce = true;
  Authenticator authenticator(options, clock);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key))), 401u);
  EXPECT_EQ(status(ask(authenticator, signed_headers(key, kNow, "n1"))), 200u);
}

TEST(ReplayCache, RefusesWhenFullRatherThanForget) {
  ReplayCache cache(2);
  const core::TimePoint now(1h);
  EXPECT_EQ(cache.add({1}, now, 60s), ReplayCache::Outcome::fresh);
  EXPECT_EQ(cache.add({2}, now + 1s, 60s), ReplayCache::Outcome::fresh);
  EXPECT_EQ(cache.add({3}, now + 1s, 60s), ReplayCache::Outcome::full);
  EXPECT_EQ(cache.add({1}, now + 2s, 60s), ReplayCache::Outcome::replayed);
  EXPECT_EQ(cache.add({3}, now + 60s, 60s), ReplayCache::Outcome::fresh);
  EXPECT_EQ(cache.size(), 2u);
}

TEST_F(Authentication, SingleUserModeBelievesUnsignedHeaders) {
  Authenticator authenticator(AuthOptions(), clock);
  const AuthVerdict verdict = ask(authenticator, {{"X-Sandbox-Identity", "acme"}, {"X-Sandbox-Max-TTL", "60"}, {"X-Sandbox-Max-Concurrent", "-1"}});
  const auto& caller = std::get<Caller>(verdict);
  EXPECT_EQ(caller.identity, "acme");
  EXPECT_EQ(caller.max_ttl, 60s);
  EXPECT_FALSE(caller.max_concurrent);
  EXPECT_EQ(status(ask(authenticator, {{"X-Sandbox-Identity", std::string(257, 'a')}})), 400u);
}

TEST_F(Authentication, TokensAreAskedOfTcpPeersOnly) {
  AuthOptions options;
  options.tokens = {*hash_token("0123456789abcdef"), *hash_token("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")};
  Authenticator authenticator(options, clock);
  EXPECT_EQ(status(ask(authenticator, {{"Authorization", "Bearer 0123456789abcdef"}})), 200u);
  EXPECT_EQ(status(ask(authenticator, {{"Authorization", "bearer abc"}})), 200u);
  EXPECT_EQ(status(ask(authenticator, {{"Authorization", "Bearer 0123456789abcdeg"}})), 401u);
  EXPECT_EQ(status(ask(authenticator, {{"Authorization", "Bearer "}})), 401u);
  EXPECT_EQ(status(ask(authenticator, {{"Authorization", "Basic 0123456789abcdef"}})), 401u);
  EXPECT_EQ(status(ask(authenticator, {})), 401u);
  EXPECT_EQ(status(ask(authenticator, {}, "/sandboxes", "POST", "@", true)), 200u);
  for (int i = 0; i < 10; ++i) ask(authenticator, {});
  EXPECT_EQ(status(ask(authenticator, {{"Authorization", "Bearer 0123456789abcdef"}})), 429u);
}

TEST_F(Authentication, AnIdentityCannotPoseAsAnAddressInTheLimiter) {
  Authenticator authenticator(AuthOptions(), clock);
  const auto posing = std::get<Caller>(ask(authenticator, {{"X-Sandbox-Identity", "10.0.0.1"}}, "/", "GET", "10.0.0.2"));
  const auto real = std::get<Caller>(ask(authenticator, {}));
  EXPECT_NE(posing.rate_key, real.rate_key);
}

TEST(Base64, IsStrict) {
  EXPECT_EQ(decode_base64("YWJj", 3), "abc");
  EXPECT_EQ(decode_base64("YWI=", 3), "ab");
  for (const char* bad : {"YWI", "YWJj\n", " YWJj", "YWJj=", "YW Jj", "YWJjZA==", "Y"}) EXPECT_FALSE(decode_base64(bad, 3)) << bad;
}

TEST(Token, IsLongOrAHash) {
  EXPECT_FALSE(hash_token("short"));
  EXPECT_FALSE(hash_token("0123456789 abcdef"));
  EXPECT_FALSE(hash_token("sha256:12"));
  EXPECT_FALSE(hash_token("sha256:" + std::string(64, 'x')));
  EXPECT_TRUE(hash_token("sha256:" + std::string(64, 'A')));
}

}  // namespace
