#include <sandbox/testing/manual_clock.hpp>

#include "conversation.hpp"

namespace sandbox::session::test {
namespace {

using protocol::FrameType;
using protocol::Method;

std::string hello(protocol::Hello hello = {.session_id = "s", .window = 1 << 16, .max_frame = 1 << 16}) {
  return frame({.type = FrameType::hello}, protocol::encode(hello));
}
std::string open_frame(StreamId id, std::string params = {}) {
  return frame({.type = FrameType::open, .stream = id},
               protocol::encode(protocol::Open{.method = Method::exec, .params = std::move(params)}));
}

/// An agent that has one open stream (1), and the bytes a bad client then sends.
ErrorCode after(std::string bytes, Options options = {}, std::string greeting = hello()) {
  RecordingSession events;
  Session agent(Role::agent, Pair::named(options, "s"), events);
  events.session = &agent;
  agent.receive(as_bytes(greeting + open_frame(1))).ignore("the greeting may be what is bad");
  const auto got = agent.receive(as_bytes(bytes));
  if (got) {
    EXPECT_FALSE(agent.failed());
    return ErrorCode{};
  }
  EXPECT_TRUE(agent.failed());
  if (events.streams.contains(1)) {
    // Told once, with the same reason.
    EXPECT_EQ(events.streams.at(1)->lost, std::vector<ErrorCode>{got.error().code()});
  }
  // The reason is offered to the peer, and nothing more is accepted.
  const auto frames = frames_in(drain(agent));
  EXPECT_TRUE(!frames.empty() && frames.back().header.type == FrameType::goaway);
  EXPECT_EQ(code(agent.receive(as_bytes(open_frame(9)))), got.error().code());
  return got.error().code();
}

TEST(HostilePeer, EveryRuleOfTheWireIsChecked) {
  const auto bad = ErrorCode::protocol;
  EXPECT_EQ(after(""), ErrorCode{});
  EXPECT_EQ(after(std::string(20, '\0')), bad);                                     // type 0
  EXPECT_EQ(after(std::string(4, '\0') + '\x0d' + std::string(15, '\0')), bad);     // type 13
  EXPECT_EQ(after(hello()), bad);                                                   // twice
  EXPECT_EQ(after("", {}, open_frame(1)), bad);                                     // no hello
  EXPECT_EQ(after("", {}, hello({.version = 1, .max_frame = 1 << 16})), bad);
  EXPECT_EQ(after("", {}, hello({.max_frame = 10})), bad);
  EXPECT_EQ(after(open_frame(1)), bad);                                             // number used again
  EXPECT_EQ(after(frame({.type = FrameType::open, .stream = 2}, "\xff")), bad);     // not an Open
  EXPECT_EQ(after(frame({.type = FrameType::end, .stream = 1})), bad);              // a client ends nothing
  EXPECT_EQ(after(frame({.type = FrameType::message, .stream = 5}, "m")), bad);     // never opened
  EXPECT_EQ(after(frame({.type = FrameType::data, .channel = 1, .stream = 1}, "x")), bad);  // not its channel
  EXPECT_EQ(after(frame({.type = FrameType::data, .stream = 1, .offset = 1}, "x")), bad);   // gap
  EXPECT_EQ(after(frame({.type = FrameType::data, .flags = 4, .stream = 1}, "x")), bad);    // unknown flag
  EXPECT_EQ(after(frame({.type = FrameType::data, .flags = protocol::kZstd, .stream = 1}, "x")), bad);
  EXPECT_EQ(after(frame({.type = FrameType::credit, .channel = 0, .stream = 1})), bad);
  EXPECT_EQ(after(frame({.type = FrameType::credit, .channel = 1, .stream = 1, .offset = 5})), bad);  // shrinks
  EXPECT_EQ(after(frame({.type = FrameType::credit, .channel = 1, .stream = 1, .offset = ~0ull})), bad);
  EXPECT_EQ(after(frame({.type = FrameType::ack, .offset = 1})), bad);
  EXPECT_EQ(after(frame({.type = FrameType::resume, .offset = 0})), bad);
  EXPECT_EQ(after(frame({.type = FrameType::ping, .stream = 1})), bad);
  EXPECT_EQ(after(frame({.type = FrameType::goaway}, "\xff")), bad);
  const std::string x = frame({.type = FrameType::data, .flags = protocol::kFin, .stream = 1}, "x");
  EXPECT_EQ(after(x), ErrorCode{});
  EXPECT_EQ(after(x + frame({.type = FrameType::data, .stream = 1, .offset = 1}, "y")), bad);  // after fin
  Options small;
  small.window = 3;
  EXPECT_EQ(after(frame({.type = FrameType::data, .stream = 1}, "abcd")), ErrorCode{});
  EXPECT_EQ(after(frame({.type = FrameType::data, .stream = 1}, "abcd"), small), bad);  // beyond its credit
}

TEST(HostilePeer, LengthsAreRefusedBeforeAnythingIsStored) {
  for (const auto type : {FrameType::hello, FrameType::open, FrameType::message, FrameType::end, FrameType::goaway,
                          FrameType::data, FrameType::ping, FrameType::cancel}) {
    std::byte head[protocol::kFrameHeader];
    const bool stream = type != FrameType::hello && type != FrameType::goaway && type != FrameType::ping;
    protocol::encode({.length = 0xffffffff, .type = type, .stream = stream ? 2u : 0u}, head);
    const auto header = protocol::decode_header(head, protocol::kMaxMaxFrame);
    ASSERT_FALSE(header);
    EXPECT_EQ(header.error().code(), ErrorCode::protocol);
  }
}

TEST(HostilePeer, CompressedBombsAreRefusedByTheirStatedSize) {
  Options options;
  options.compress = true;
  options.window = 10'000;
  // A frame of an honest sender, which may send no more than its credit.
  Options sender = options;
  Pair pair(sender, options);
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  ASSERT_EQ(pair.client.send(stream.id, Channel::in, as_bytes(std::string(10'000, 'a'))), 10'000u);
  auto frames = frames_in(drain(pair.client));
  ASSERT_EQ(frames.size(), 1u);
  ASSERT_EQ(frames[0].header.flags, protocol::kZstd);
  EXPECT_LT(frames[0].payload.size(), 200u);
  options.window = 9'999;
  EXPECT_EQ(after(frame(frames[0].header, frames[0].payload), options), ErrorCode::protocol);
  options.window = 10'000;
  EXPECT_EQ(after(frame(frames[0].header, frames[0].payload), options), ErrorCode{});
  for (std::size_t i = 0; i < frames[0].payload.size(); ++i) {  // any damage is an error or other bytes, never a crash
    std::string damaged = frames[0].payload;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x55);
    after(frame(frames[0].header, damaged), options);
  }
}

TEST(HostilePeer, StreamsBeyondTheLimitAreAnsweredOneByOne) {
  Options agent;
  agent.max_streams = 2;
  Pair pair({}, agent);
  RecordingStream streams[3];
  for (auto& stream : streams) pair.open(stream);
  pair.pump();
  EXPECT_TRUE(streams[1].alive());
  ASSERT_EQ(streams[2].ends.size(), 1u);
  EXPECT_EQ(error_of(streams[2].ends[0]).code(), ErrorCode::resource_exhausted);
  EXPECT_FALSE(pair.agent_events.streams.contains(3));  // nobody had to serve it
  EXPECT_EQ(pair.agent.open_streams(), 2u);
  pair.client.send_message(2, "still there").value();
  pair.pump();
  EXPECT_EQ(pair.agent_events.streams.at(2)->messages.size(), 1u);
  pair.agent.end(1, {});
  pair.pump();
  RecordingStream another;
  pair.open(another);
  pair.pump();
  EXPECT_TRUE(another.alive());
}

TEST(HostilePeer, AnswersItDoesNotReadAreBounded) {
  RecordingSession events;
  Session agent(Role::agent, Pair::named({}, "s"), events);
  agent.receive(as_bytes(hello())).value();
  std::string pings;
  for (int i = 0; i < 10'000; ++i) pings += frame({.type = FrameType::ping, .offset = 1});
  Result<void> got;
  for (int i = 0; i < 100 && got; ++i) got = agent.receive(as_bytes(pings));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), ErrorCode::resource_exhausted);
}

TEST(HostilePeer, FramesForStreamsThatJustEndedAreDropped) {
  Pair pair;
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  pair.agent.end(stream.id, {});
  drain(pair.agent);  // the client has not seen it yet
  pair.client.send(stream.id, Channel::in, as_bytes(pattern(100'000)), true);
  pair.client.send_message(stream.id, "late").value();
  pair.client.cancel(stream.id);
  ASSERT_TRUE(pair.agent.receive(as_bytes(drain(pair.client))));
  EXPECT_EQ(pair.agent_events.streams.at(1)->data[Channel::in], "");
  EXPECT_TRUE(pair.agent_events.streams.at(1)->messages.empty());
}

TEST(HostilePeer, AnAgentMayNotTalkAfterEnd) {
  for (const std::string& late :
       {frame({.type = FrameType::end, .stream = 1}), frame({.type = FrameType::message, .stream = 1}, "m"),
        frame({.type = FrameType::data, .channel = 1, .stream = 1}, "x"),
        frame({.type = FrameType::credit, .stream = 1, .offset = 1 << 30}), frame({.type = FrameType::cancel, .stream = 1}),
        open_frame(2)}) {
    RecordingSession events;
    Session client(Role::client, {}, events);
    RecordingStream stream;
    stream.session = &client;
    stream.id = client.open(Method::exec, "", &stream);
    client.receive(as_bytes(hello() + frame({.type = FrameType::end, .stream = 1}))).value();
    EXPECT_EQ(stream.ends.size(), 1u);
    EXPECT_EQ(code(client.receive(as_bytes(late))), ErrorCode::protocol);
    EXPECT_TRUE(stream.lost.empty());
  }
}

TEST(HostilePeer, RandomBytesAndDamagedConversationsNeverCrash) {
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    std::mt19937_64 random(seed);
    RecordingSession events;
    Options options;
    options.compress = seed % 2;
    options.resumable = seed % 3 == 0;
    Session agent(Role::agent, Pair::named(options, "s"), events);
    events.session = &agent;
    std::string bytes = hello({.session_id = "s", .window = 1000, .max_frame = 1 << 16, .resumable = seed % 5 == 0,
                               .capabilities = {"zstd"}});
    StreamId id = 0;
    for (int i = 0; i < 40; ++i) {
      protocol::FrameHeader header{.type = static_cast<FrameType>(1 + random() % 13),
                                   .flags = static_cast<std::uint8_t>(random() % 4),
                                   .channel = static_cast<std::uint8_t>(random() % 3),
                                   .stream = static_cast<StreamId>(random() % 4), .offset = random() % 50};
      if (random() % 3 == 0) bytes += open_frame(++id);
      else bytes += frame(header, std::string(random() % 30, static_cast<char>(random())));
    }
    for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t part = std::min<std::size_t>(1 + random() % 60, bytes.size() - at);
      agent.receive(as_bytes(std::string_view(bytes).substr(at, part))).ignore("expected");
      at += part;
      if (random() % 4 == 0) drain(agent);
    }
  }
}

TEST(Session, ManyMessagesWaitForRoom) {
  Pair pair;
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  int made = 0;
  while (pair.agent.can_message(stream.id)) {
    pair.agent.send_message(stream.id, std::string(1000, 'm')).value();
    ASSERT_LT(++made, 1000);
  }
  EXPECT_GT(made, 100);
  EXPECT_EQ(pair.served(stream).drains, 0);
  pair.pump();
  EXPECT_EQ(pair.served(stream).drains, 1);
  EXPECT_EQ(stream.messages.size(), static_cast<std::size_t>(made));
  EXPECT_TRUE(pair.agent.can_message(stream.id));
}

TEST(Session, EveryStreamHearsOnceThatTheSessionIsOver) {
  Pair pair;
  RecordingStream streams[3], late;
  for (auto& stream : streams) pair.open(stream);
  pair.pump();
  pair.agent.end(2, {});
  pair.pump();
  pair.client.fail(Error(ErrorCode::unavailable, "gone"));
  pair.client.fail(Error(ErrorCode::internal, "again"));
  EXPECT_EQ(streams[0].lost, std::vector<ErrorCode>{ErrorCode::unavailable});
  EXPECT_TRUE(streams[1].lost.empty());
  EXPECT_EQ(streams[2].lost, std::vector<ErrorCode>{ErrorCode::unavailable});
  EXPECT_EQ(pair.open(late).id, 0u);
  EXPECT_EQ(late.lost, std::vector<ErrorCode>{ErrorCode::unavailable});
  pair.pump();  // the goaway arrives
  EXPECT_TRUE(pair.agent.failed());
  EXPECT_EQ(pair.agent_events.streams.at(1)->lost, std::vector<ErrorCode>{ErrorCode::unavailable});
  EXPECT_EQ(pair.agent_events.streams.at(3)->lost, std::vector<ErrorCode>{ErrorCode::unavailable});
}

TEST(Session, FramesLeaveWholeWhenItEnds) {
  // However much of a long row of small frames had left when more were added, and then the session failed.
  for (std::size_t sent = 0; sent < 12'000; sent += 7) {
    Pair pair;
    RecordingStream stream;
    pair.open(stream);
    pair.pump();
    for (int i = 0; i < 10; ++i) pair.client.send_message(stream.id, std::string(1000, 'm')).value();
    const ByteView out = pair.client.output();
    const std::size_t part = std::min(sent, out.size());
    std::string said(as_text(out.first(part)));
    pair.client.sent(part);
    pair.client.send_message(stream.id, "one more").value();
    pair.client.fail(Error(ErrorCode::cancelled, "enough"));
    said += drain(pair.client);
    const auto frames = frames_in(said);
    ASSERT_EQ(frames.back().header.type, FrameType::goaway) << part;
    for (std::size_t i = 0; i + 1 < frames.size(); ++i) ASSERT_EQ(frames[i].header.type, FrameType::message) << part;
  }
}

TEST(Session, ARequestThatIsTooLargeIsRefusedHere) {
  Pair pair;
  RecordingStream stream;
  EXPECT_EQ(pair.open(stream, Method::exec, std::string(protocol::kMaxRequest + 1, 'x')).id, 0u);
  ASSERT_EQ(stream.ends.size(), 1u);
  EXPECT_EQ(error_of(stream.ends[0]).code(), ErrorCode::invalid_argument);
  RecordingStream largest;
  pair.open(largest, Method::exec, std::string(protocol::kMaxRequest, 'x'));
  pair.pump(1000);
  EXPECT_EQ(pair.agent_events.opens.at(1).params.size(), protocol::kMaxRequest);
}

TEST(Session, AMessageThatIsTooLargeIsRefusedHere) {
  Pair pair;
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  const std::string largest(protocol::kMaxRequest, 'm'), larger = largest + 'm';
  EXPECT_EQ(code(pair.client.send_message(stream.id, larger)), ErrorCode::invalid_argument);
  EXPECT_EQ(code(pair.agent.send_message(stream.id, larger)), ErrorCode::resource_exhausted);
  ASSERT_TRUE(pair.client.send_message(stream.id, largest));
  ASSERT_TRUE(pair.agent.send_message(stream.id, largest));
  pair.pump(1000);
  EXPECT_EQ(pair.served(stream).messages, std::vector<std::string>{largest});
  EXPECT_EQ(stream.messages, std::vector<std::string>{largest});
  EXPECT_TRUE(stream.alive());
}

TEST(Session, ASilentPeerIsPingedAndThenGivenUp) {
  Options options;
  options.heartbeat = std::chrono::seconds(5);
  testing::ManualClock clock;
  Pair pair(options, {});
  RecordingStream stream;
  pair.open(stream);
  EXPECT_LE(pair.client.next_tick(), clock.now());
  EXPECT_EQ(pair.agent.next_tick(), core::TimePoint::max());
  pair.client.tick(clock.now());
  pair.pump();
  for (int i = 0; i < 20; ++i) {  // it answers: all is well, however long
    clock.advance(std::chrono::seconds(5));
    EXPECT_EQ(pair.client.next_tick(), clock.now());
    pair.client.tick(clock.now());
    pair.pump();
  }
  EXPECT_FALSE(pair.client.failed());
  EXPECT_TRUE(pair.client_events.pongs.empty());  // heartbeats are nobody's business
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(pair.client.failed());
    clock.advance(std::chrono::seconds(5));
    pair.client.tick(clock.now());
    drain(pair.client);
  }
  EXPECT_TRUE(pair.client.failed());
  EXPECT_EQ(stream.lost, std::vector<ErrorCode>{ErrorCode::unavailable});
}

TEST(Session, CompressionPaysOrIsNotUsed) {
  Options options;
  options.compress = true;
  Pair pair(options, options);
  RecordingStream stream;
  pair.open(stream);
  pair.pump();
  const std::string text(200'000, 't'), noise = pattern(200'000);
  pair.agent.send(stream.id, Channel::out, as_bytes(text));
  EXPECT_LT(pair.pump(), 2'000u);
  pair.agent.send(stream.id, Channel::out, as_bytes(noise));
  EXPECT_LT(pair.pump(), 201'000u);
  EXPECT_TRUE(stream.data[Channel::out] == text + noise);
  Pair one_sided(options, {});
  RecordingStream other;
  one_sided.open(other);
  one_sided.pump();
  one_sided.agent.send(other.id, Channel::out, as_bytes(text));
  EXPECT_GT(one_sided.pump(), 200'000u);
}

TEST(Session, PingsAreAnsweredWithTheirNonce) {
  Pair pair;
  pair.pump();
  pair.client.ping(42);
  pair.pump();
  EXPECT_EQ(pair.client_events.pongs, std::vector<std::uint64_t>{42});
}

}  // namespace
}  // namespace sandbox::session::test
