#include <gtest/gtest.h>

#include "harness.hpp"

/// Variables and nested sessions.
namespace sandbox::agent::testing {
namespace {

using protocol::EnvEntries;
using protocol::EnvRequest;
using protocol::Method;

TEST(AgentEnv, ChangesHoldForLaterPrograms) {
  Harness harness;
  auto call = harness.client->open(Method::env_set, protocol::encode(EnvEntries{{{"COLOUR", "red"}, {"SHAPE", "a=b"}}}));
  ASSERT_TRUE(harness.finish(call));
  ASSERT_TRUE(call->ok());
  EXPECT_EQ(harness.run("echo $COLOUR $SHAPE")->out, "red a=b\n");

  call = harness.client->open(Method::env_get, protocol::encode(EnvRequest{"SHAPE"}));
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->result<EnvEntries>().entries, (std::vector<protocol::KeyValue>{{"SHAPE", "a=b"}}));

  call = harness.client->open(Method::env_unset, protocol::encode(EnvRequest{"COLOUR"}));
  ASSERT_TRUE(harness.finish(call));
  call = harness.client->open(Method::env_list, {});
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->result<EnvEntries>().entries,
            (std::vector<protocol::KeyValue>{{"PATH", "/usr/bin:/bin"}, {"SHAPE", "a=b"}}));
  call = harness.client->open(Method::env_get, protocol::encode(EnvRequest{"COLOUR"}));
  ASSERT_TRUE(harness.finish(call));
  EXPECT_TRUE(call->result<EnvEntries>().entries.empty());
}

TEST(AgentEnv, RefusesABatchAsAWhole) {
  Harness harness;
  auto call = harness.client->open(Method::env_set, protocol::encode(EnvEntries{{{"GOOD", "1"}, {"BAD=NAME", "2"}}}));
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(harness.run("echo [$GOOD]")->out, "[]\n");
}

TEST(AgentSession, RefusesUnknownMethods) {
  Harness harness;
  const auto call = harness.client->open(static_cast<Method>(999), {});
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->error().code(), ErrorCode::unsupported);
}

TEST(AgentSession, AnswersPingsWhileProgramsRun) {
  Harness harness;
  const auto call = harness.client->shell("sleep 0.3");
  ASSERT_TRUE(harness.run_until([&] { return call->started(); }));
  harness.client->session.ping(42);
  ASSERT_TRUE(harness.run_until([&] { return harness.client->pong.has_value(); }, 200ms));
  EXPECT_EQ(*harness.client->pong, 42u);
  EXPECT_FALSE(call->end);
}

TEST(AgentSession, EndsEverythingWhenThePeerTalksNonsense) {
  Harness harness;
  ASSERT_TRUE(harness.run_until([&] { return harness.client->hello.has_value(); }));
  const auto call = harness.client->shell("sleep 60");
  ASSERT_TRUE(harness.run_until([&] { return call->started(); }));
  const std::string nonsense(64, '\xff');
  ASSERT_EQ(::send(harness.socket.get(), nonsense.data(), nonsense.size(), MSG_NOSIGNAL), 64);
  EXPECT_TRUE(harness.run_until([&] { return harness.server_lost.has_value(); }, 5s));
}

/// The client of a session inside a stream of `outer`.
class NestedClient {
 public:
  NestedClient(Harness& harness, Client& outer) {
    stream_ = std::make_shared<Stream>(*this);
    stream_->session = &outer.session;
    stream_->id = outer.session.open(Method::session, protocol::encode(protocol::SessionRequest{"v2"}), stream_.get());
    client = std::make_unique<Client>(harness.loop, [this, &outer](ByteView bytes) {
      return outer.session.send(stream_->id, Channel::in, bytes);
    });
  }
  Call& stream() { return *stream_; }

  std::unique_ptr<Client> client;

 private:
  struct Stream : Call {
    explicit Stream(NestedClient& owner) : owner_(owner) {}
    void on_data(Channel channel, ByteView data, bool) override {
      session->consumed(id, channel, data.size());
      owner_.client->session.receive(data).value();
    }
    void on_writable(Channel) override { owner_.client->flush(); }
    NestedClient& owner_;
  };
  std::shared_ptr<Stream> stream_;
};

TEST(AgentNestedSession, ServesLikeTheOuterOne) {
  Harness harness;
  NestedClient nested(harness, *harness.client);
  const auto inner = nested.client->shell("echo inner; head -c 3000000 /dev/zero >&2; exit 6");
  const auto outer = harness.client->shell("echo outer");
  ASSERT_TRUE(harness.finish(inner));
  ASSERT_TRUE(harness.finish(outer));
  EXPECT_EQ(outer->out, "outer\n");
  EXPECT_EQ(inner->out, "inner\n");
  EXPECT_EQ(inner->err.size(), 3000000u);
  EXPECT_EQ(inner->result().exit_code, 6u);
  EXPECT_FALSE(nested.client->hello->facts);
}

TEST(AgentNestedSession, EndsItsProgramsWhenItIsClosed) {
  Harness harness;
  NestedClient nested(harness, *harness.client);
  const auto inner = nested.client->shell("exec sleep 60");
  ASSERT_TRUE(harness.run_until([&] { return inner->started(); }));
  const pid_t pid = static_cast<pid_t>(inner->pid());
  harness.client->session.send(nested.stream().id, Channel::in, {}, true);
  ASSERT_TRUE(harness.run_until([&] { return nested.stream().end.has_value(); }, 5s));
  EXPECT_TRUE(nested.stream().ok());
  EXPECT_TRUE(harness.run_until([&] { return ::kill(pid, 0) != 0; }, 5s));
  EXPECT_EQ(harness.run("echo alive")->out, "alive\n");
}

TEST(AgentNestedSession, NestsOnlySoDeep) {
  Harness harness;
  std::vector<std::unique_ptr<NestedClient>> levels;
  Client* outer = harness.client.get();
  for (int depth = 0; depth < Server::kMaxDepth; ++depth) {
    levels.push_back(std::make_unique<NestedClient>(harness, *outer));
    outer = levels.back()->client.get();
  }
  const auto call = outer->shell("echo deep");
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->out, "deep\n");
  const auto refused = outer->open(Method::session, protocol::encode(protocol::SessionRequest{"v2"}));
  ASSERT_TRUE(harness.finish(refused));
  EXPECT_EQ(refused->error().code(), ErrorCode::resource_exhausted);
  while (!levels.empty()) levels.pop_back();
}

TEST(AgentNestedSession, RefusesOtherDialects) {
  Harness harness;
  const auto call = harness.client->open(Method::session, protocol::encode(protocol::SessionRequest{"v9"}));
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->error().code(), ErrorCode::unsupported);
}

}  // namespace
}  // namespace sandbox::agent::testing
