#include <sandbox/key.hpp>

#include <gtest/gtest.h>

#include "core/text.hpp"
#include "crypto/key_pair.hpp"

namespace sandbox {
namespace {

std::string from_hex(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return out;
}

TEST(KeyPair, AgreesAsInRfc7748) {
  // RFC 7748 §6.1: Bob's key pair, Alice's public key, their secret.
  const auto bob = crypto::KeyPair::from_private_key(
      as_bytes(from_hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))).value();
  EXPECT_EQ(core::to_hex(bob.public_key().data(), 32), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  crypto::PublicKey alice;
  from_hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a").copy(reinterpret_cast<char*>(alice.data()), 32);
  std::array<std::byte, 32> secret;
  ASSERT_TRUE(bob.agree(alice, secret));
  EXPECT_EQ(core::to_hex(secret.data(), 32), "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
}

TEST(KeyPair, PointsOfSmallOrderAreRefused) {
  const auto pair = crypto::KeyPair::generate().value();
  std::array<std::byte, 32> out;
  for (const char first : {0, 1}) {
    crypto::PublicKey weak{};
    weak[0] = std::byte(first);
    const auto agreed = pair.agree(weak, out);
    ASSERT_FALSE(agreed);
    EXPECT_EQ(agreed.error().code(), ErrorCode::protocol);
  }
}

TEST(Fingerprint, SurvivesItsText) {
  const Fingerprint fingerprint = Identity::generate().value().fingerprint();
  const std::string text = fingerprint.to_string();
  EXPECT_EQ(text.size(), 7u + 64u);
  EXPECT_EQ(Fingerprint::parse(text).value(), fingerprint);
  for (std::string bad : {std::string(), text.substr(1), text + "0", "sha512:" + text.substr(7), text.substr(0, 70) + "g",
                          text.substr(0, 70) + "A"}) {
    const auto parsed = Fingerprint::parse(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code(), ErrorCode::invalid_argument);
  }
}

TEST(PreSharedKey, IsThirtyTwoBytesThatAreNotZero) {
  EXPECT_EQ(PreSharedKey::from_bytes(as_bytes(std::string(31, 'x'))).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(PreSharedKey::from_bytes(as_bytes(std::string(32, '\0'))).error().code(), ErrorCode::invalid_argument);
  const std::string secret(32, 'k');
  EXPECT_EQ(as_text(PreSharedKey::from_bytes(as_bytes(secret)).value().reveal()), secret);
  EXPECT_NE(as_text(PreSharedKey::generate().value().reveal()), as_text(PreSharedKey::generate().value().reveal()));
}

TEST(SecretBytes, MoveAndStayWhole) {
  auto secret = crypto::SecretBytes::copy_of(as_bytes("secret")).value();
  const std::byte* where = secret.bytes().data();
  const crypto::SecretBytes moved = std::move(secret);
  EXPECT_EQ(moved.bytes().data(), where);
  EXPECT_EQ(as_text(moved.bytes()), "secret");
  EXPECT_TRUE(crypto::same(as_bytes("abc"), as_bytes("abc")));
  EXPECT_FALSE(crypto::same(as_bytes("abc"), as_bytes("abd")));
  EXPECT_FALSE(crypto::same(as_bytes("abc"), as_bytes("ab")));
}

}  // namespace
}  // namespace sandbox
