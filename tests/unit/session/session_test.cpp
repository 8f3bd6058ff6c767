#include "session/session.hpp"

#include "conversation.hpp"

namespace sandbox::session::test {
namespace {

using protocol::FrameType;
using protocol::Method;

protocol::End done(std::string result = "ok") { return {.result = std::move(result)}; }

TEST(Session, HellosMakeBothEndsReady) {
  Pair pair;
  EXPECT_FALSE(pair.client.ready());
  pair.pump();
  EXPECT_TRUE(pair.client.ready());
  EXPECT_TRUE(pair.agent.ready());
  EXPECT_EQ(pair.client_events.peer->session_id, "0123456789abcdef");
  EXPECT_EQ(pair.agent_events.peer->version, 2u);
}

TEST(Session, AnOperationRunsFromOpenToEnd) {
  Pair pair;
  RecordingStream stream;
  pair.open(stream, Method::exec, "params", "key-1");  // before any hello arrived
  pair.pump();
  EXPECT_EQ(pair.agent_events.opens.at(stream.id).params, "params");
  EXPECT_EQ(pair.agent_events.opens.at(stream.id).idempotency_key, "key-1");
  pair.agent.send_message(stream.id, "started").value();
  EXPECT_EQ(pair.agent.send(stream.id, Channel::out, as_bytes("hello")), 5u);
  EXPECT_EQ(pair.agent.send(stream.id, Channel::err, as_bytes("oops"), true), 4u);
  pair.client.send_message(stream.id, "resize").value();
  EXPECT_EQ(pair.client.send(stream.id, Channel::in, as_bytes("input"), true), 5u);
  pair.pump();
  pair.agent.end(stream.id, done());
  pair.pump();
  EXPECT_EQ(pair.served(stream).data[Channel::in], "input");
  EXPECT_EQ(pair.served(stream).fins[Channel::in], 1);
  EXPECT_EQ(pair.served(stream).messages, std::vector<std::string>{"resize"});
  EXPECT_EQ(stream.data[Channel::out], "hello");
  EXPECT_EQ(stream.data[Channel::err], "oops");
  EXPECT_EQ(stream.messages, std::vector<std::string>{"started"});
  ASSERT_EQ(stream.ends.size(), 1u);
  EXPECT_EQ(stream.ends[0].result, "ok");
  EXPECT_EQ(pair.agent_events.closed, std::vector<StreamId>{stream.id});
  EXPECT_EQ(pair.client.open_streams(), 0u);
  EXPECT_EQ(pair.agent.open_streams(), 0u);
}

TEST(Session, AShortOperationIsOneWriteEachWay) {
  Pair pair;
  pair.pump();
  RecordingStream stream;
  pair.open(stream);
  pair.client.send(stream.id, Channel::in, as_bytes("x"), true);
  const std::size_t request = pair.client.output().size();
  EXPECT_EQ(Pair::move(pair.client, pair.agent, ~0u), request);
  EXPECT_TRUE(pair.client.output().empty());
  pair.agent.send_message(stream.id, "started").value();
  pair.agent.send(stream.id, Channel::out, as_bytes("y"));
  pair.agent.end(stream.id, done());
  Pair::move(pair.agent, pair.client, ~0u);
  EXPECT_EQ(stream.ends.size(), 1u);
  EXPECT_EQ(stream.data[Channel::out], "y");
}

TEST(Session, LargeTransfersArriveWholeInAnyFragmentation) {
  for (const std::size_t piece : {1u, 7u, 20u, 21u, 4096u, 70000u, 1u << 20}) {
    Pair pair;
    pair.pump();
    RecordingStream stream;
    pair.open(stream);
    const std::string content = pattern(piece < 20 ? 30'000 : 3'000'000);
    std::size_t position = 0;
    const auto push = [&] {
      const auto rest = as_bytes(std::string_view(content).substr(position));
      position += pair.client.send(stream.id, Channel::in, rest, true);
    };
    stream.when_writable = push;
    push();
    pair.pump(piece);
    ASSERT_EQ(position, content.size());
    EXPECT_TRUE(pair.served(stream).data[Channel::in] == content) << piece;
    EXPECT_EQ(pair.served(stream).fins[Channel::in], 1);
  }
}

TEST(Session, ReservedRoomIsSentWithoutACopy) {
  Pair pair;
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  const std::string content = pattern(900'000);
  std::size_t position = 0;
  const auto push = [&] {
    while (position < content.size()) {
      const auto room = pair.agent.reserve(stream.id, Channel::out, content.size() - position);
      if (room.empty()) return;
      const std::size_t part = std::min<std::size_t>(room.size(), 50'001);
      content.copy(reinterpret_cast<char*>(room.data()), part, position);
      position += part;
      pair.agent.commit(stream.id, Channel::out, part, position == content.size());
    }
  };
  pair.served(stream).when_writable = push;
  push();
  pair.pump();
  EXPECT_TRUE(stream.data[Channel::out] == content);
  EXPECT_EQ(stream.fins[Channel::out], 1);
}

TEST(Session, CreditIsNeverExceededAndComesBackWhenConsumed) {
  Options small;
  small.window = 10'000;
  Pair pair(small, small);
  RecordingStream stream;
  stream.consume = false;
  pair.open(stream);
  pair.pump();
  const std::string content = pattern(50'000);
  std::size_t position = pair.agent.send(stream.id, Channel::out, as_bytes(content));
  EXPECT_EQ(position, 10'000u);
  EXPECT_EQ(pair.agent.writable(stream.id, Channel::out), 0u);
  pair.pump();
  EXPECT_EQ(stream.data[Channel::out].size(), 10'000u);
  EXPECT_EQ(pair.served(stream).writables, 0);
  while (position < content.size()) {
    pair.client.consumed(stream.id, Channel::out, 5'000);
    pair.pump();
    EXPECT_GT(pair.served(stream).writables, 0);
    const std::size_t more = pair.agent.send(stream.id, Channel::out, as_bytes(std::string_view(content).substr(position)));
    EXPECT_EQ(more, std::min<std::size_t>(5'000, content.size() - position));
    position += more;
    pair.pump();
  }
  EXPECT_TRUE(stream.data[Channel::out] == content);
}

TEST(Session, ControlOvertakesQueuedBulkData) {
  Pair pair;
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  ASSERT_GT(pair.agent.send(stream.id, Channel::out, as_bytes(pattern(256 << 10))), 200'000u);
  // The first DATA frame has begun to leave; everything else waits behind the pong.
  pair.agent.sent(pair.agent.output().size() / 2);
  pair.agent.ping(7);
  pair.agent.send_message(stream.id, "m").value();
  pair.agent.end(stream.id, done());
  const ByteView rest = pair.agent.output();
  pair.agent.sent(rest.size());
  const auto frames = frames_in(drain(pair.agent));
  ASSERT_EQ(frames.size(), 4u);
  EXPECT_EQ(frames[0].header.type, FrameType::ping);
  EXPECT_EQ(frames[1].header.type, FrameType::message);
  EXPECT_EQ(frames[2].header.type, FrameType::data);
  EXPECT_EQ(frames[3].header.type, FrameType::end);  // the only control frame that waits for data
}

TEST(Session, BulkStreamsTakeTurns) {
  Pair pair;
  RecordingStream streams[3];
  for (auto& stream : streams) pair.open(stream);
  pair.pump();
  for (auto& stream : streams) pair.agent.send(stream.id, Channel::out, as_bytes(pattern(256 << 10)));
  std::vector<StreamId> order;
  for (const auto& frame : frames_in(drain(pair.agent))) order.push_back(frame.header.stream);
  EXPECT_EQ(order, (std::vector<StreamId>{1, 2, 3, 1, 2, 3}));
}

TEST(Session, CancelReachesTheAgentOnceAndEndStillFollows) {
  Pair pair;
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  pair.served(stream).when_cancelled = [&] {
    pair.agent.end(stream.id, end_of(Error(ErrorCode::cancelled, "cancelled by the client")));
  };
  pair.client.cancel(stream.id);
  pair.client.cancel(stream.id);
  pair.pump();
  EXPECT_EQ(pair.served(stream).cancels, 1);
  ASSERT_EQ(stream.ends.size(), 1u);
  const Error error = error_of(stream.ends[0]);
  EXPECT_EQ(error.code(), ErrorCode::cancelled);
  EXPECT_EQ(error.origin(), Origin::guest);
}

TEST(Session, ADetachedStreamIsDrainedAndForgotten) {
  Options small;
  small.window = 4096;
  Pair pair(small, small);
  auto stream = std::make_unique<RecordingStream>();
  pair.open(*stream);
  pair.pump();
  const StreamId id = stream->id;
  RecordingStream& served = pair.served(*stream);
  std::size_t total = 0;
  const auto push = [&] {
    while (total < 40'960) {
      const std::size_t n = pair.agent.send(id, Channel::out, as_bytes(pattern(40'960 - total)));
      if (n == 0) return;
      total += n;
    }
    pair.agent.end(id, done());
  };
  served.when_writable = push;
  push();
  stream->consume = false;
  pair.pump();
  EXPECT_EQ(stream->data[Channel::out].size(), 4096u);
  pair.client.detach(id);
  stream.reset();
  pair.pump();
  EXPECT_EQ(total, 40'960u);
  EXPECT_EQ(pair.client.open_streams(), 0u);
}

}  // namespace
}  // namespace sandbox::session::test
