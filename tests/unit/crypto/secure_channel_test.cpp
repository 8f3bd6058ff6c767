#include "crypto/secure_channel.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "crypto/key_pair.hpp"

namespace sandbox::crypto {
namespace {

/// Why it failed; ErrorCode{} when it did not.
ErrorCode code(const Result<void>& result) { return result ? ErrorCode{} : result.error().code(); }

struct End {
  SecureChannel channel;
  std::string heard;

  Result<void> receive(ByteView wire) {
    return channel.receive(wire, [this](ByteView plain) -> Result<void> {
      heard += as_text(plain);
      return {};
    });
  }
  std::string take() {
    std::string bytes(as_text(channel.output()));
    channel.sent(bytes.size());
    return bytes;
  }
};

struct Peers {
  Identity identity = Identity::generate().value();
  std::optional<PreSharedKey> client_key, agent_key;
  std::optional<Fingerprint> pin;
  std::string client_context = "context", agent_context = "context";

  End client() const { return {SecureChannel::client({pin, client_key, client_context}).value(), {}}; }
  End agent() const { return {SecureChannel::agent({identity, agent_key, agent_context}).value(), {}}; }
};

/// Moves everything both ways, at most `piece` bytes at a time; stops at the first error.
Result<void> converse(End& client, End& agent, std::size_t piece = 1 << 20) {
  for (;;) {
    const std::string up = client.take(), down = agent.take();
    if (up.empty() && down.empty()) return {};
    for (std::size_t at = 0; at < up.size(); at += piece) {
      SANDBOX_CHECK(agent.receive(as_bytes(std::string_view(up).substr(at, piece))));
    }
    for (std::size_t at = 0; at < down.size(); at += piece) {
      SANDBOX_CHECK(client.receive(as_bytes(std::string_view(down).substr(at, piece))));
    }
  }
}

class SecureChannelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto probe = SecureChannel::client({}); !probe) {
      ASSERT_EQ(probe.error().code(), ErrorCode::unsupported);
      GTEST_SKIP() << probe.error().message();
    }
  }
};

TEST_F(SecureChannelTest, CarriesBytesBothWaysInAnyFragmentation) {
  Peers setup;
  setup.pin = setup.identity.fingerprint();
  setup.client_key = setup.agent_key = PreSharedKey::generate().value();
  for (const std::size_t piece : {1u, 7u, 8u, 9u, 100u, 5000u, 1u << 20}) {
    End client = setup.client(), agent = setup.agent();
    ASSERT_TRUE(converse(client, agent, piece));
    ASSERT_TRUE(client.channel.established());
    ASSERT_TRUE(agent.channel.established());
    EXPECT_EQ(client.channel.fingerprint(), setup.identity.fingerprint());
    EXPECT_EQ(as_text(client.channel.transcript()), as_text(agent.channel.transcript()));
    const std::string up(piece < 100 ? 3'000 : 700'000, 'u'), down = "down";
    ASSERT_TRUE(client.channel.seal(as_bytes(up)));
    ASSERT_TRUE(agent.channel.seal(as_bytes(down)));
    ASSERT_TRUE(converse(client, agent, piece));
    EXPECT_TRUE(agent.heard == up);
    EXPECT_EQ(client.heard, down);
  }
}

TEST_F(SecureChannelTest, ContentAndIdentityAreNotVisible) {
  const Peers setup;
  End client = setup.client(), agent = setup.agent();
  std::string seen = client.take();
  ASSERT_TRUE(agent.receive(as_bytes(seen)));
  std::string down = agent.take();
  seen += down;
  ASSERT_TRUE(client.receive(as_bytes(down)));
  ASSERT_TRUE(client.channel.seal(as_bytes("very secret text")));
  seen += client.take();
  EXPECT_EQ(seen.find("secret"), std::string::npos);
  EXPECT_EQ(seen.find(as_text(setup.identity.key_pair().public_key())), std::string::npos);
}

TEST_F(SecureChannelTest, NothingIsSealedBeforeThePeerProvedItself) {
  const Peers setup;
  End client = setup.client();
  const auto sealed = client.channel.seal(as_bytes("early"));
  ASSERT_FALSE(sealed);
  EXPECT_EQ(sealed.error().code(), ErrorCode::failed_precondition);
}

TEST_F(SecureChannelTest, AnotherIdentityThanThePinnedIsRefused) {
  Peers setup;
  setup.pin = Identity::generate().value().fingerprint();
  End client = setup.client(), agent = setup.agent();
  const auto done = converse(client, agent);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::unauthenticated);
  EXPECT_FALSE(client.channel.established());
  EXPECT_FALSE(agent.channel.established());
}

TEST_F(SecureChannelTest, EveryDisagreementAboutTheKeyOrContextIsRefused) {
  for (int i = 0; i < 4; ++i) {
    Peers setup;
    if (i == 0) setup.client_key = PreSharedKey::generate().value();
    if (i == 1) setup.agent_key = PreSharedKey::generate().value();
    if (i == 2) setup.client_key = PreSharedKey::generate().value(), setup.agent_key = PreSharedKey::generate().value();
    if (i == 3) setup.agent_context = "another";
    End client = setup.client(), agent = setup.agent();
    const auto done = converse(client, agent);
    ASSERT_FALSE(done) << i;
    EXPECT_EQ(done.error().code(), i == 3 ? ErrorCode::protocol : ErrorCode::unauthenticated) << i;
    EXPECT_FALSE(agent.channel.established());
  }
}

TEST_F(SecureChannelTest, AClientWithoutTheKeyCannotConfirm) {
  // A client that skips its own check still cannot make the confirmation the agent waits for.
  Peers setup;
  setup.agent_key = PreSharedKey::generate().value();
  End client = setup.client(), agent = setup.agent();
  ASSERT_TRUE(agent.receive(as_bytes(client.take())));
  std::string confirm(8 + 16, '\0');
  confirm[0] = 16, confirm[4] = 3;
  const auto got = agent.receive(as_bytes(confirm));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), ErrorCode::unauthenticated);
}

/// The records in `wire`.
std::vector<std::string> split(std::string_view wire) {
  std::vector<std::string> records;
  while (!wire.empty()) {
    const std::size_t size = 8 + static_cast<std::uint8_t>(wire[0]) + 256u * static_cast<std::uint8_t>(wire[1]) +
                             65536u * static_cast<std::uint8_t>(wire[2]);
    records.emplace_back(wire.substr(0, size));
    wire.remove_prefix(size);
  }
  return records;
}

TEST_F(SecureChannelTest, AChangedBitAnywhereIsDetected) {
  Peers setup;
  setup.client_key = setup.agent_key = PreSharedKey::generate().value();
  std::size_t checked = 0;
  // The step: 0 client hello, 1 agent hello, 2 confirm, 3 data, 4 close.
  for (std::size_t step = 0; step < 5; ++step) {
    for (std::size_t bit = 0;; ++bit) {
      End client = setup.client(), agent = setup.agent();
      bool past = false, detected = false;
      const auto carry = [&](std::size_t which, End& from, End& to) {
        std::string wire = from.take();
        if (which == step) {
          if (bit >= wire.size() * 8) {
            past = true;
            return false;
          }
          wire[bit / 8] = static_cast<char>(wire[bit / 8] ^ (1 << bit % 8));
        }
        const auto got = to.receive(as_bytes(wire));
        detected = !got;
        got.ignore("counted");
        return !detected;
      };
      bool going = carry(0, client, agent) && carry(1, agent, client) && carry(2, client, agent);
      if (going && client.channel.established()) {
        ASSERT_TRUE(client.channel.seal(as_bytes("x")));
        going = carry(3, client, agent);
      }
      if (going && client.channel.established()) {
        ASSERT_TRUE(client.channel.close());
        going = carry(4, client, agent);
      }
      if (past) break;
      // A length that grew makes the receiver wait for more: then nothing arrives, and the end is a truncation.
      const bool cut_off = code(agent.channel.finish()) != ErrorCode{};
      EXPECT_TRUE(detected || cut_off) << "record " << step << " bit " << bit;
      if (step == 3) {
        EXPECT_EQ(agent.heard, "") << bit;
      }
      ++checked;
    }
  }
  EXPECT_EQ(checked, 8u * (8 + 38 + 8 + 97 + 24 + 25 + 24));
}

class Records : public SecureChannelTest {
 protected:
  void SetUp() override {
    SecureChannelTest::SetUp();
    if (IsSkipped()) return;
    client_.emplace(setup_.client());
    agent_.emplace(setup_.agent());
    ASSERT_TRUE(converse(*client_, *agent_));
    for (const char* text : {"one", "two", "three"}) ASSERT_TRUE(client_->channel.seal(as_bytes(text)));
    ASSERT_TRUE(client_->channel.close());
    records_ = split(client_->take());
    ASSERT_EQ(records_.size(), 4u);
  }
  /// What the agent makes of these records.
  void expect_refused(std::initializer_list<std::size_t> order, std::string_view heard) {
    std::string wire;
    for (const std::size_t i : order) wire += records_[i];
    const auto got = agent_->receive(as_bytes(wire));
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code(), ErrorCode::protocol);
    EXPECT_EQ(agent_->heard, heard);
    EXPECT_EQ(code(agent_->receive(as_bytes(records_[1]))), ErrorCode::protocol);  // and stays refused
  }
  Peers setup_;
  std::optional<End> client_, agent_;
  std::vector<std::string> records_;
};

TEST_F(Records, RepeatedIsRefused) { expect_refused({0, 0}, "one"); }
TEST_F(Records, ReorderedIsRefused) { expect_refused({1, 0}, ""); }
TEST_F(Records, LeftOutIsRefused) { expect_refused({0, 2}, "one"); }
TEST_F(Records, ClosedTooEarlyIsRefused) { expect_refused({0, 3}, "one"); }
TEST_F(Records, AnythingAfterTheCloseIsRefused) { expect_refused({0, 1, 2, 3, 0}, "onetwothree"); }

TEST_F(Records, ReflectedIsRefused) {
  const auto got = client_->receive(as_bytes(records_[0]));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), ErrorCode::protocol);
}

TEST_F(Records, AnEndWithoutCloseIsATruncation) {
  std::string wire = records_[0] + records_[1] + records_[2];
  ASSERT_TRUE(agent_->receive(as_bytes(wire)));
  EXPECT_EQ(agent_->channel.finish().error().code(), ErrorCode::unavailable);
  ASSERT_TRUE(agent_->receive(as_bytes(records_[3])));
  EXPECT_TRUE(agent_->channel.peer_closed());
  EXPECT_TRUE(agent_->channel.finish());
}

TEST_F(Records, OfAnotherSessionAreRefused) {
  End client = setup_.client(), agent = setup_.agent();
  ASSERT_TRUE(converse(client, agent));
  EXPECT_EQ(code(agent.receive(as_bytes(records_[0]))), ErrorCode::protocol);
}

TEST_F(SecureChannelTest, ADowngradeIsDetected) {
  const Peers setup;
  // The client offers versions 1 and 9 (a later one); somebody in the middle removes 9. Here the other way round: an
  // offer that was changed in any way reaches the agent, which answers, and the client sees that it was not its own.
  End client = setup.client(), agent = setup.agent();
  std::string hello = client.take();
  std::string changed = hello;
  changed[12] = 2;              // two versions
  changed.insert(13, 1, '\x09');
  changed[0] = static_cast<char>(changed[0] + 1);
  ASSERT_TRUE(agent.receive(as_bytes(changed)));
  const auto got = client.receive(as_bytes(agent.take()));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), ErrorCode::protocol);

  // An agent that knows none of the offered versions says so.
  End other = setup.agent();
  std::string unknown = hello;
  unknown[13] = 7;
  EXPECT_EQ(other.receive(as_bytes(unknown)).error().code(), ErrorCode::unsupported);
  // And an answer with another version than offered is refused.
  End fresh_client = setup.client(), fresh_agent = setup.agent();
  ASSERT_TRUE(fresh_agent.receive(as_bytes(fresh_client.take())));
  std::string answer = fresh_agent.take();
  answer[8] = 0;
  EXPECT_EQ(fresh_client.receive(as_bytes(answer)).error().code(), ErrorCode::protocol);
}

TEST_F(SecureChannelTest, KeysChangeWithoutALoss) {
  const Peers setup;
  End client = setup.client(), agent = setup.agent();
  client.channel.rekey_after(3);
  agent.channel.rekey_after(3);
  ASSERT_TRUE(converse(client, agent));
  std::string all;
  for (int i = 0; i < 20; ++i) {
    all += std::to_string(i);
    ASSERT_TRUE(client.channel.seal(as_bytes(std::to_string(i))));
  }
  ASSERT_TRUE(converse(client, agent, 13));
  EXPECT_EQ(agent.heard, all);
  // Ends that disagree about the change notice at the first record under another key.
  End one = setup.client(), two = setup.agent();
  one.channel.rekey_after(3);
  ASSERT_TRUE(converse(one, two));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(one.channel.seal(as_bytes(std::to_string(i))));
  EXPECT_EQ(code(converse(one, two)), ErrorCode::protocol);
  EXPECT_EQ(two.heard, "012");
}

TEST_F(SecureChannelTest, LengthsAreRefusedBeforeAnythingIsStored) {
  const Peers setup;
  for (const bool handshake : {true, false}) {
    End client = setup.client(), agent = setup.agent();
    if (!handshake) {
      ASSERT_TRUE(converse(client, agent));
    }
    std::string head(8, '\0');
    head[4] = handshake ? 1 : 4;
    for (const int top : {0, 1, 2, 3}) head[static_cast<std::size_t>(top)] = '\xff';
    const auto got = agent.receive(as_bytes(head));
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code(), ErrorCode::protocol);
  }
}

TEST_F(SecureChannelTest, RandomBytesNeverCrash) {
  const Peers setup;
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    std::mt19937_64 random(seed);
    End client = setup.client(), agent = setup.agent();
    if (seed % 2) {
      ASSERT_TRUE(converse(client, agent));
    }
    std::string bytes;
    for (int i = 0; i < 10; ++i) {
      std::string record(8 + random() % 200, static_cast<char>(random()));
      record[0] = static_cast<char>(record.size() - 8);
      record[1] = record[2] = record[3] = record[5] = record[6] = record[7] = 0;
      record[4] = static_cast<char>(1 + random() % 5);
      bytes += record;
    }
    for (std::size_t at = 0; at < bytes.size(); at += 33) {
      agent.receive(as_bytes(std::string_view(bytes).substr(at, 33))).ignore("expected");
    }
    EXPECT_EQ(agent.heard, "");
  }
}

TEST(Dialect, IsToldByTheNinthByte) {
  auto client = SecureChannel::client({}).value();
  const ByteView sealed = client.output();
  std::byte plain[20] = {std::byte{49}, {}, {}, {}, std::byte{1}};
  for (std::size_t size = 0; size < kDialectBytes; ++size) {
    EXPECT_EQ(dialect_of(sealed.first(size)), Dialect::undecided) << size;
    EXPECT_EQ(dialect_of(ByteView(plain).first(size)), Dialect::undecided) << size;
  }
  EXPECT_EQ(dialect_of(sealed.first(kDialectBytes)), Dialect::sealed);
  EXPECT_EQ(dialect_of(ByteView(plain).first(kDialectBytes)), Dialect::plain);
  plain[4] = std::byte{2};  // no hello at all: the session refuses it
  EXPECT_EQ(dialect_of(ByteView(plain).first(5)), Dialect::plain);
}

}  // namespace
}  // namespace sandbox::crypto
