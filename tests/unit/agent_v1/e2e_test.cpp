#include "agent/v1/e2e.hpp"

#include <gtest/gtest.h>

#include "agent/v1/text.hpp"
#include "core/text.hpp"

namespace sandbox::agent::v1 {
namespace {

std::string counting(int first, std::size_t size) {
  std::string bytes;
  for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>(first + static_cast<int>(i));
  return bytes;
}

crypto::KeyPair pair_of(int first) { return crypto::KeyPair::from_private_key(as_bytes(std::string_view(counting(first, 32)))).value(); }

TEST(V1Cipher, MatchesThePublishedVector) {
  const auto client = pair_of(1), agent = pair_of(33);
  EXPECT_EQ(base64(client.public_key()), "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=");
  EXPECT_EQ(base64(agent.public_key()), "WGmv9FBUlzLLqu1eXfmzCm2jHLDldCutWtShp2jxpns=");
  std::byte key[32];
  agent.agree(client.public_key(), key).value();
  EXPECT_EQ(core::to_hex(key, sizeof key), "a84dc7c3c8f058b1b2dc4cd1e9b5dc0a7987f88b6a9564cde3391fc421159e77");

  const auto cipher = Cipher::agree(agent, client.public_key()).value();
  const std::string nonce = counting(0, 12);
  const auto blob = cipher->seal_with(as_bytes(nonce), R"({"command":"echo hi"})");
  EXPECT_EQ(base64(as_bytes(blob)), "AAECAwQFBgcICQoLzI+HZd7+oE2QoS//UIOeKiA7Il4VS+iSTeFn61sePqleHQ0BLg==");
  EXPECT_EQ(cipher->open(blob).value(), R"({"command":"echo hi"})");
  const auto empty = cipher->seal_with(as_bytes(nonce), "");
  EXPECT_EQ(core::to_hex(empty.data(), empty.size()), "000102030405060708090a0ba325bdeac9e744f337f89f1795a7b1c0");
  EXPECT_EQ(cipher->open(empty).value(), "");
}

TEST(V1Cipher, EndsOpenWhatTheOtherSealsUnderFreshNonces) {
  const auto client = crypto::KeyPair::generate().value(), agent = crypto::KeyPair::generate().value();
  const auto ours = Cipher::agree(agent, client.public_key()).value(), theirs = Cipher::agree(client, agent.public_key()).value();
  const std::string plain(100000, 'p');
  const auto first = ours->seal(plain).value(), second = ours->seal(plain).value();
  EXPECT_EQ(first.size(), plain.size() + Cipher::kOverhead);
  EXPECT_NE(first, second);
  EXPECT_EQ(theirs->open(first).value(), plain);
}

TEST(V1Cipher, RefusesWhatWasChangedOrIsTooShort) {
  const auto cipher = Cipher::from_key(as_bytes(std::string_view(counting(0, 32)))).value();
  const auto blob = cipher->seal("hello").value();
  for (std::size_t i = 0; i < blob.size(); ++i) {
    std::string changed = blob;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    const auto opened = cipher->open(changed);
    ASSERT_FALSE(opened) << i;
    EXPECT_EQ(opened.error().code(), ErrorCode::corrupt);
  }
  for (std::size_t size = 0; size < blob.size(); ++size) {
    const auto opened = cipher->open(std::string_view(blob).substr(0, size));
    ASSERT_FALSE(opened) << size;
    opened.error().ignore("expected");
  }
}

TEST(V1Cipher, RefusesKeysOfSmallOrder) {
  const auto agent = crypto::KeyPair::generate().value();
  const std::string zero(32, '\0');
  const auto agreed = Cipher::agree(agent, as_bytes(zero));
  ASSERT_FALSE(agreed);
  EXPECT_EQ(agreed.error().code(), ErrorCode::protocol);
}

}  // namespace
}  // namespace sandbox::agent::v1
