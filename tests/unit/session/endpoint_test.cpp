#include "session/endpoint.hpp"

#include "conversation.hpp"

namespace sandbox::session::test {
namespace {

struct Sealed {
  Pair pair;
  Identity identity = Identity::generate().value();
  std::optional<Endpoint> client, agent;

  explicit Sealed(Options options = {}) : pair(options, options) { connect(identity.fingerprint()); }
  void connect(Fingerprint pin) {
    client.emplace(pair.client, crypto::SecureChannel::client({pin, {}, "id"}).value());
    agent.emplace(pair.agent, crypto::SecureChannel::agent({identity, {}, "id"}).value());
  }
  static std::size_t move(Endpoint& from, Endpoint& to, std::size_t piece, std::string* seen) {
    const ByteView out = from.output();
    const std::string copy = text_of(out.first(std::min(piece, out.size())));
    from.sent(copy.size());
    to.receive(as_bytes(copy)).ignore("tests look at failed()");
    if (seen) *seen += copy;
    return copy.size();
  }
  void pump(std::size_t piece = ~std::size_t{0}, std::string* seen = nullptr) {
    while (move(*client, *agent, piece, seen) + move(*agent, *client, piece, seen) > 0) {
    }
  }
};

#define SKIP_WITHOUT_AES() \
  if (const auto probe = crypto::SecureChannel::client({}); !probe) GTEST_SKIP() << probe.error().message()

TEST(Endpoint, ASealedSessionDoesWhatAPlainOneDoes) {
  SKIP_WITHOUT_AES();
  Sealed sealed;
  RecordingStream stream;
  sealed.pair.open(stream, protocol::Method::exec, "secret params");
  const std::string content = pattern(200'000);
  std::string seen;
  sealed.pump(999, &seen);
  ASSERT_TRUE(sealed.pair.agent.ready());
  EXPECT_EQ(sealed.pair.client.send(stream.id, Channel::in, as_bytes(content), true), content.size());
  sealed.pump(4321, &seen);
  sealed.pair.agent.end(stream.id, {.result = "secret result"});
  sealed.pump(10, &seen);
  EXPECT_TRUE(sealed.pair.served(stream).data[Channel::in] == content);
  ASSERT_EQ(stream.ends.size(), 1u);
  EXPECT_EQ(seen.find("secret"), std::string::npos);
  EXPECT_EQ(code(sealed.agent->finish()), ErrorCode::unavailable);
  sealed.client->close();
  sealed.pump();
  EXPECT_TRUE(sealed.agent->finish());
}

TEST(Endpoint, NothingOfTheSessionLeavesBeforeThePeerProvedItself) {
  SKIP_WITHOUT_AES();
  Sealed sealed;
  sealed.connect(Identity::generate().value().fingerprint());
  RecordingStream stream;
  sealed.pair.open(stream);
  sealed.pump();
  EXPECT_EQ(stream.lost, std::vector<ErrorCode>{ErrorCode::unauthenticated});
  EXPECT_FALSE(sealed.pair.agent.ready());
  EXPECT_TRUE(sealed.pair.agent_events.opens.empty());
}

TEST(Endpoint, DamageOnTheWayEndsTheSession) {
  SKIP_WITHOUT_AES();
  Sealed sealed;
  RecordingStream stream;
  sealed.pair.open(stream);
  sealed.pump();
  sealed.pair.client.send_message(stream.id, "m").value();
  std::string wire = text_of(sealed.client->output());
  wire.back() = static_cast<char>(wire.back() ^ 1);
  EXPECT_EQ(code(sealed.agent->receive(as_bytes(wire))), ErrorCode::protocol);
  EXPECT_EQ(sealed.pair.agent_events.streams.at(1)->lost, std::vector<ErrorCode>{ErrorCode::protocol});
  EXPECT_TRUE(sealed.pair.agent_events.streams.at(1)->messages.empty());
}

TEST(Endpoint, ASealedSessionResumesUnderNewKeys) {
  SKIP_WITHOUT_AES();
  Options options;
  options.resumable = true;
  options.max_data = 5'000;
  Sealed sealed(options);
  RecordingStream stream;
  sealed.pair.open(stream);
  sealed.pump();
  const std::string content = pattern(100'000);
  ASSERT_EQ(sealed.pair.client.send(stream.id, Channel::in, as_bytes(content), true), content.size());
  for (int cut = 0; cut < 12; ++cut) {
    Sealed::move(*sealed.client, *sealed.agent, 7'777, nullptr);
    sealed.client->output();  // this record is lost on the way
    sealed.pair.client.disconnected();
    sealed.pair.agent.disconnected();
    sealed.connect(sealed.identity.fingerprint());
    ASSERT_TRUE(sealed.pair.client.resume());
    ASSERT_TRUE(sealed.pair.agent.resume());
    for (int i = 0; i < 4; ++i) {
      Sealed::move(*sealed.client, *sealed.agent, 1 << 20, nullptr);
      Sealed::move(*sealed.agent, *sealed.client, 1 << 20, nullptr);
    }
  }
  sealed.pump();
  EXPECT_TRUE(sealed.pair.served(stream).data[Channel::in] == content);
  EXPECT_EQ(sealed.pair.served(stream).fins[Channel::in], 1);
}

TEST(Endpoint, APlainOneIsTheSessionItself) {
  Pair pair;
  Endpoint client(pair.client), agent(pair.agent);
  while (Sealed::move(client, agent, 10, nullptr) + Sealed::move(agent, client, 10, nullptr) > 0) {
  }
  EXPECT_TRUE(pair.client.ready());
  EXPECT_TRUE(pair.agent.ready());
}

}  // namespace
}  // namespace sandbox::session::test
