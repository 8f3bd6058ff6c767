#include "crypto/key_pair.hpp"
#include "crypto/secure_channel.hpp"
#include "unit/protocol/vectors.hpp"

namespace sandbox::crypto {
namespace {

using test::hex;

TEST(SealVectors, HandshakeAndRecordsAreAsDocumented) {
  auto vectors = test::protocol_vectors();
  const auto key = [&](const char* name) { return as_bytes(vectors.at(name)); };
  const Identity identity = Identity::from_private_key(key("seal.agent_identity")).value();
  EXPECT_EQ(hex(as_text(identity.key_pair().public_key())), hex(vectors.at("seal.agent_identity.public")));
  EXPECT_EQ(hex(as_text(identity.fingerprint().bytes())), hex(vectors.at("seal.agent_identity.fingerprint")));
  const PreSharedKey shared = PreSharedKey::from_bytes(key("seal.pre_shared_key")).value();
  auto made = SecureChannel::client_with({identity.fingerprint(), shared, "example"}, key("seal.client_ephemeral"));
  if (!made) GTEST_SKIP() << made.error().message();
  SecureChannel client = std::move(made).value();
  SecureChannel agent = SecureChannel::agent_with({identity, shared, "example"}, key("seal.agent_ephemeral")).value();

  std::string heard;
  const auto sink = [&](ByteView plain) -> Result<void> {
    heard += as_text(plain);
    return {};
  };
  const auto carry = [&](SecureChannel& from, SecureChannel& to, const char* name) {
    EXPECT_EQ(hex(as_text(from.output())), hex(vectors.at(name))) << name;
    EXPECT_TRUE(to.receive(as_bytes(vectors.at(name)), sink)) << name;
    from.sent(from.output().size());
  };
  carry(client, agent, "seal.client_hello");
  carry(agent, client, "seal.agent_hello");
  carry(client, agent, "seal.client_confirm");
  EXPECT_EQ(hex(as_text(client.transcript())), hex(vectors.at("seal.transcript")));
  client.rekey_after(2);
  agent.rekey_after(2);
  ASSERT_TRUE(client.seal(as_bytes("hello")));
  carry(client, agent, "seal.client_record.0");
  ASSERT_TRUE(client.seal(as_bytes("agent")));
  carry(client, agent, "seal.client_record.1");
  ASSERT_TRUE(client.close());
  carry(client, agent, "seal.client_close.2");
  EXPECT_EQ(heard, "helloagent");
  ASSERT_TRUE(agent.seal(as_bytes("hello client")));
  carry(agent, client, "seal.agent_record.0");
  EXPECT_EQ(heard, "helloagenthello client");
  EXPECT_TRUE(agent.peer_closed());
}

}  // namespace
}  // namespace sandbox::crypto
