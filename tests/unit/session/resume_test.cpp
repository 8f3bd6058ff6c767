#include "conversation.hpp"

namespace sandbox::session::test {
namespace {

using protocol::FrameType;
using protocol::Method;

Options resumable() {
  Options options;
  options.resumable = true;
  options.window = 40'000;
  options.max_data = 3'000;
  options.send_queue = 20'000;
  return options;
}

/// Reconnects: what was on its way is lost, both ends say what they have.
void reconnect(Pair& pair) {
  pair.client.disconnected();
  pair.agent.disconnected();
  pair.client.resume().value();
  pair.agent.resume().value();
}

TEST(Resume, NeedsBothEnds) {
  Pair pair(resumable(), {});
  pair.pump();
  pair.client.disconnected();
  const auto resumed = pair.client.resume();
  ASSERT_FALSE(resumed);
  EXPECT_EQ(resumed.error().code(), ErrorCode::failed_precondition);
}

TEST(Resume, NothingIsKeptOrAcknowledgedWithoutIt) {
  Pair pair;
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  for (int i = 0; i < 100; ++i) pair.client.send_message(stream.id, "m").value();
  Pair::move(pair.client, pair.agent, ~0u);
  EXPECT_TRUE(pair.agent.output().empty());
}

/// One conversation with data both ways, messages, cancel and end; cut after every possible number of bytes.
class Story {
 public:
  explicit Story(Options client = resumable(), Options agent = resumable()) : pair(client, agent) {
    up = pattern(9'011, 1), down = pattern(12'003, 2), err = pattern(2'001, 3);
    pair.agent_events.when_open = [this](StreamId id) -> StreamHandler* {
      RecordingStream& served = *pair.agent_events.streams.at(id);
      served.when_writable = [this] { step_agent(); };
      served.when_message = [this](ByteView message) {
        pair.agent.send_message(stream.id, "echo " + text_of(message)).value();
      };
      opened = true;
      return &served;
    };
    pair.open(stream, Method::exec, "params", "key");
    stream.when_writable = [this] { step_client(); };
    pair.client.send_message(stream.id, "first").value();
    step_client();
  }
  void step_client() {
    if (up_sent < up.size() && stream.alive()) {
      up_sent += pair.client.send(stream.id, Channel::in, as_bytes(std::string_view(up).substr(up_sent)), true);
      if (up_sent == up.size()) pair.client.send_message(stream.id, "last").value();
    }
  }
  void step_agent() {
    if (!opened || ended) return;
    if (down_sent < down.size()) {
      down_sent += pair.agent.send(stream.id, Channel::out, as_bytes(std::string_view(down).substr(down_sent)), true);
    }
    if (err_sent < err.size()) {
      err_sent += pair.agent.send(stream.id, Channel::err, as_bytes(std::string_view(err).substr(err_sent)));
    }
    if (down_sent == down.size() && err_sent == err.size() &&
        pair.agent_events.streams.at(stream.id)->messages.size() == 2 &&
        pair.agent_events.streams.at(stream.id)->fins[Channel::in] == 1) {
      ended = true;
      pair.agent.end(stream.id, {.result = "done"});
    }
  }
  bool finished() const { return !stream.ends.empty() && pair.agent.open_streams() == 0; }
  std::size_t run(std::size_t limit = ~std::size_t{0}, std::size_t piece = ~std::size_t{0}) {
    std::size_t total = 0;
    while (total < limit) {
      step_agent();
      std::size_t moved = Pair::move(pair.client, pair.agent, std::min(piece, limit - total));
      total += moved;
      if (total < limit) {
        const std::size_t back = Pair::move(pair.agent, pair.client, std::min(piece, limit - total));
        moved += back, total += back;
      }
      if (moved == 0) break;
    }
    return total;
  }
  void check() {
    ASSERT_FALSE(pair.client.failed());
    ASSERT_FALSE(pair.agent.failed());
    RecordingStream& served = *pair.agent_events.streams.at(stream.id);
    EXPECT_TRUE(served.data[Channel::in] == up);
    EXPECT_TRUE(stream.data[Channel::out] == down);
    EXPECT_TRUE(stream.data[Channel::err] == err);
    EXPECT_EQ(served.messages, (std::vector<std::string>{"first", "last"}));
    EXPECT_EQ(stream.messages, (std::vector<std::string>{"echo first", "echo last"}));
    ASSERT_EQ(stream.ends.size(), 1u);
    EXPECT_EQ(stream.ends[0].result, "done");
    EXPECT_EQ(pair.agent_events.closed, std::vector<StreamId>{stream.id});
    EXPECT_EQ(pair.client.open_streams(), 0u);
  }

  Pair pair;
  RecordingStream stream;
  std::string up, down, err;
  std::size_t up_sent = 0, down_sent = 0, err_sent = 0;
  bool opened = false, ended = false;
};

TEST(Resume, ACutAfterAnyByteLosesAndDoublesNothing) {
  Story whole;
  const std::size_t length = whole.run();
  ASSERT_TRUE(whole.finished());
  whole.check();
  // Every frame boundary and the bytes around it, and every 97th byte between.
  for (std::size_t cut = 0; cut <= length; cut += cut < 1000 ? 1 : 97) {
    Story story;
    story.run(cut);
    if (!story.pair.client.ready() || !story.pair.agent.ready()) continue;  // no session yet: a new one is opened
    reconnect(story.pair);
    story.run();
    ASSERT_TRUE(story.finished()) << "cut after " << cut;
    story.check();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "cut after " << cut;
  }
}

TEST(Resume, ThousandsOfRandomSchedulesLoseAndDoubleNothing) {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    std::mt19937_64 random(seed);
    Options client = resumable(), agent = resumable();
    client.compress = agent.compress = seed % 3 == 0;
    client.max_data = 1 + random() % 5000;
    agent.max_data = 1 + random() % 9000;
    client.window = 4000 + random() % 60'000;
    agent.window = 4000 + random() % 60'000;
    agent.max_unacknowledged = 0;  // the least
    Story story(client, agent);
    if (seed % 2) story.down = std::string(12'003, 'z');  // compressible
    while (!story.pair.client.ready() || !story.pair.agent.ready()) story.run(64);
    for (int turn = 0; turn < 2000 && !story.finished(); ++turn) {
      story.run(1 + random() % 2000, 1 + random() % 1500);
      switch (random() % 8) {
        case 0:
        case 1: reconnect(story.pair); break;
        case 2: {
          // Both keep working while nothing is connected; the reconnect itself is cut again.
          story.pair.client.disconnected();
          story.pair.agent.disconnected();
          story.step_client();
          story.step_agent();
          story.pair.client.resume().value();
          story.pair.agent.resume().value();
          story.run(random() % 120, 1 + random() % 40);
          reconnect(story.pair);
          break;
        }
        default: break;
      }
    }
    story.run();
    ASSERT_TRUE(story.finished()) << "seed " << seed;
    story.check();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
  }
}

TEST(Resume, KeptBytesAreBoundedAndDataWaitsForAcknowledgement) {
  Options options = resumable();
  options.window = 4 << 20;
  options.send_queue = 4 << 20;
  options.max_data = 64 << 10;
  options.max_unacknowledged = 256 << 10;
  Pair pair(options, options);
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  ASSERT_EQ(pair.client.send(stream.id, Channel::in, as_bytes(pattern(2 << 20))), 2u << 20);
  const std::string first = drain(pair.client);
  EXPECT_LE(first.size(), (256u << 10) + (65u << 10));
  pair.agent.receive(as_bytes(first)).value();
  pair.pump();
  EXPECT_EQ(pair.served(stream).data[Channel::in].size(), 2u << 20);
}

TEST(Resume, AnImpossibleAcknowledgementEndsTheSession) {
  for (const auto type : {FrameType::ack, FrameType::resume}) {
    Pair pair(resumable(), resumable());
    RecordingStream stream;
    pair.open(stream);
    pair.pump();
    std::string bytes;
    if (type == FrameType::resume) {
      pair.client.disconnected();
      pair.client.resume().value();
      bytes = frame({.type = FrameType::hello},
                    protocol::encode(protocol::Hello{.session_id = "0123456789abcdef", .max_frame = 1 << 20}));
    }
    const auto got = pair.client.receive(as_bytes(bytes + frame({.type = type, .offset = 1000})));
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code(), ErrorCode::protocol);
    EXPECT_EQ(stream.lost, std::vector<ErrorCode>{ErrorCode::protocol});
  }
}

TEST(Resume, AnotherAgentIsNotMistakenForTheOldOne) {
  Pair pair(resumable(), resumable());
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  pair.client.disconnected();
  pair.client.resume().value();
  const auto got = pair.client.receive(as_bytes(
      frame({.type = FrameType::hello}, protocol::encode(protocol::Hello{.session_id = "another", .max_frame = 1 << 20}))));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), ErrorCode::unavailable);
  EXPECT_EQ(stream.lost, std::vector<ErrorCode>{ErrorCode::unavailable});
}

Options holding() {
  Options options = resumable();
  options.hold_until_ready = true;
  return options;
}

TEST(Resume, AHeldSessionSendsOnlyItsHelloBeforeThePeers) {
  Pair pair(holding(), resumable());
  RecordingStream stream;
  pair.open(stream);
  pair.client.send_message(stream.id, "early").value();
  pair.client.send(stream.id, Channel::in, {}, true);  // needs no credit
  const auto sent = frames_in(drain(pair.client));
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].header.type, FrameType::hello);
}

TEST(Resume, AHeldSessionMayLoseItsTransportAtAnyByte) {
  Story whole(holding());
  const std::size_t length = whole.run();
  ASSERT_TRUE(whole.finished());
  whole.check();
  for (std::size_t cut = 0; cut <= length; cut += cut < 1000 ? 1 : 97) {
    Story story(holding());
    story.run(cut);
    const bool fresh = !story.pair.client.ready();
    story.pair.client.disconnected();
    story.pair.client.resume().value();
    if (fresh) {
      // The agent forgets a session that nobody took up: another one answers.
      ASSERT_TRUE(story.pair.agent_events.opens.empty()) << "an operation left before the agent's hello came, cut after " << cut;
      story.pair.agent_events.peer.reset();
      story.pair.agent = Session(Role::agent, Pair::named(resumable(), "0123456789abcdef"), story.pair.agent_events);
    } else {
      story.pair.agent.disconnected();
      story.pair.agent.resume().value();
    }
    story.run();
    ASSERT_TRUE(story.finished()) << "cut after " << cut;
    story.check();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "cut after " << cut;
  }
}

TEST(Resume, AHeldSessionRefusesAPeerThatKeepsNothing) {
  Pair pair(holding(), {});
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  EXPECT_TRUE(pair.client.failed());
  EXPECT_EQ(stream.lost, std::vector<ErrorCode>{ErrorCode::protocol});
}

/// A held client whose OPEN is sent again behind the hellos; `size` bytes of it have left when it gives up.
std::vector<Frame> give_up_inside_an_open(std::size_t size) {
  Options options = resumable();
  options.hold_until_ready = true;
  Pair pair(options, resumable());
  RecordingStream stream;
  pair.open(stream, Method::exec, "rm unimportant");
  Pair::move(pair.client, pair.agent, ~std::size_t{0});   // hello
  Pair::move(pair.agent, pair.client, ~std::size_t{0});
  std::string said(as_text(pair.client.output().first(size)));
  pair.client.sent(size);
  pair.client.ping(1);
  pair.client.fail(Error(ErrorCode::cancelled, "enough"));
  said += drain(pair.client);
  return frames_in(said);
}

TEST(Resume, AFrameThatHasBegunIsFinishedWhenTheSessionFails) {
  // Otherwise the agent would take what follows, a ping, for the rest of a request.
  for (const std::size_t size : {1u, 20u, 30u}) {
    const auto frames = give_up_inside_an_open(size);
    ASSERT_FALSE(frames.empty());
    ASSERT_EQ(frames[0].header.type, FrameType::open);
    const auto open = protocol::decode<protocol::Open>(as_bytes(frames[0].payload));
    ASSERT_TRUE(open) << size;
    EXPECT_EQ(open->params, "rm unimportant");
  }
}

TEST(Resume, APeerMayGiveUpInsteadOfSendingAnInterruptedFrameAgain) {
  Pair pair(resumable(), resumable());
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  RecordingStream& served = pair.served(stream);
  ASSERT_EQ(pair.client.send(stream.id, Channel::in, as_bytes(pattern(100))), 100u);
  Pair::move(pair.client, pair.agent, 50);   // 30 bytes of content
  EXPECT_EQ(served.data[Channel::in].size(), 30u);
  reconnect(pair);
  const std::string hello = drain(pair.client);
  // It says where it stands and then goodbye.
  const auto frames = frames_in(hello);
  ASSERT_EQ(frames[1].header.type, FrameType::resume);
  const std::string begin = hello.substr(0, 2 * protocol::kFrameHeader + frames[0].payload.size());
  ASSERT_EQ(code(pair.agent.receive(as_bytes(begin))), ErrorCode{});
  const std::string goodbye = frame({.type = FrameType::goaway}, encode(end_of(Error(ErrorCode::cancelled, "enough"))));
  EXPECT_EQ(code(pair.agent.receive(as_bytes(goodbye))), ErrorCode::cancelled);
  ASSERT_EQ(served.lost.size(), 1u);
  EXPECT_EQ(served.lost[0], ErrorCode::cancelled);
}

TEST(Resume, SilenceEndsTheTransportNotTheSession) {
  Options options = resumable();
  options.heartbeat = std::chrono::seconds(1);
  Pair pair(options, resumable());
  pair.pump();
  auto now = core::TimePoint() + std::chrono::hours(1);
  for (int i = 0; i < 5; ++i, now += std::chrono::seconds(1)) {
    EXPECT_FALSE(pair.client.silent()) << i;
    pair.client.tick(now);
  }
  EXPECT_TRUE(pair.client.silent());
  EXPECT_FALSE(pair.client.failed());
  reconnect(pair);
  pair.pump();
  EXPECT_FALSE(pair.client.silent());
  EXPECT_FALSE(pair.client.failed());
}

}  // namespace
}  // namespace sandbox::session::test
