#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "ws_harness.hpp"

namespace sandbox::http::test {
namespace {

class WebSockets : public WebSocketTest {};

TEST_F(WebSockets, CarriesWholeMessagesBothWays) {
  serve();
  heard->message = [&](const std::string& text) {
    if (text.starts_with("t:")) heard->socket->send_text("re " + text);
    else heard->socket->send(MessageKind::binary, as_bytes("head "), as_bytes(text));
  };
  auto raw = dial();
  shake(raw);
  raw.send(frame(1, "hello"));
  auto answer = next_frame(raw);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->opcode, 1u);
  EXPECT_EQ(answer->payload, "re t:hello");
  const std::string big(70000, 'z');
  raw.send(frame(2, big.substr(0, 40000), false) + frame(9, "in between") + frame(0, big.substr(40000)));
  answer = next_frame(raw);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->opcode, 10u);
  EXPECT_EQ(answer->payload, "in between");
  answer = next_frame(raw);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->opcode, 2u);
  EXPECT_EQ(answer->payload, "head b:" + big);
}

TEST_F(WebSockets, AnswersTheClientsCloseWithItsCode) {
  serve();
  auto raw = dial();
  shake(raw);
  raw.send(frame(8, std::string("\x03\xe8", 2) + "bye"));
  EXPECT_EQ(close_text(next_frame(raw)), "1000");
  const CloseInfo info = closed();
  EXPECT_EQ(info.code, 1000);
  EXPECT_EQ(info.reason, "bye");
  EXPECT_TRUE(info.clean);
  EXPECT_TRUE(info.by_peer);
  raw.read_to_end();
  EXPECT_TRUE(raw.closed);
}

TEST_F(WebSockets, ClosingWaitsForTheClientsAnswer) {
  serve();
  auto raw = dial();
  shake(raw);
  on_reactor([&] {
    heard->socket->send_text("last words");
    heard->socket->close(1000, "done");
    heard->socket->send_text("never sent");
  });
  EXPECT_EQ(next_frame(raw)->payload, "last words");
  EXPECT_EQ(close_text(next_frame(raw)), "1000 done");
  raw.send(frame(2, "late data") + frame(8, std::string("\x03\xe8", 2)));
  const CloseInfo info = closed();
  EXPECT_EQ(info.code, 1000);
  EXPECT_TRUE(info.clean);
  EXPECT_FALSE(info.by_peer);
  EXPECT_TRUE(heard->messages.empty());
}

TEST_F(WebSockets, ClosingDoesNotWaitForEver) {
  serve({.close_wait = 50ms}, {.write_timeout = 100ms});
  auto raw = dial();
  shake(raw);
  on_reactor([&] { heard->socket->close(1001, "going"); });
  const CloseInfo info = closed();
  EXPECT_EQ(info.code, 1001);
  EXPECT_FALSE(info.clean);
}

TEST_F(WebSockets, ALostConnectionIsClosedWith1006) {
  serve();
  {
    auto raw = dial();
    shake(raw);
  }
  const CloseInfo info = closed();
  EXPECT_EQ(info.code, 1006);
  EXPECT_FALSE(info.clean);
  EXPECT_TRUE(info.by_peer);
}

TEST_F(WebSockets, AMessageOverTheLimitIsRefusedWhenAnnounced) {
  serve({.max_message = 2097152});
  auto raw = dial();
  shake(raw);
  // The header alone: 3 MiB are announced and none of them sent.
  raw.send(frame(2, std::string(3 << 20, 'x')).substr(0, 14));
  EXPECT_EQ(close_text(next_frame(raw)), "1009 read limited at 2097153 bytes");
  EXPECT_EQ(closed().code, 1009);
}

TEST_F(WebSockets, FragmentsCountTogetherAgainstTheLimit) {
  serve({.max_message = 10, .too_big_reason = "own words"});
  auto raw = dial();
  shake(raw);
  raw.send(frame(1, "0123456789"));
  raw.send(frame(1, "01234", false) + frame(0, "56789", false) + frame(0, "x"));
  EXPECT_EQ(close_text(next_frame(raw)), "1009 own words");
  closed();
  EXPECT_EQ(heard->messages, std::vector<std::string>{"t:0123456789"});
}

TEST_F(WebSockets, TheCloseFrameReachesAClientThatIsStillSending) {
  serve({.max_message = 1000});
  auto raw = Raw(dial_tcp(port));
  shake(raw);
  std::thread sender([&] { raw.send(frame(2, std::string(4 << 20, 'x'))); });
  EXPECT_EQ(close_text(next_frame(raw)), "1009 read limited at 1001 bytes");
  sender.join();
}

struct Broken {
  const char* name;
  std::string bytes;
  const char* close;
};

class BrokenFrames : public WebSocketTest, public ::testing::WithParamInterface<Broken> {};

TEST_P(BrokenFrames, EndTheConnectionWithTheRightCode) {
  serve();
  auto raw = dial();
  shake(raw);
  raw.send(GetParam().bytes);
  const auto answer = close_text(next_frame(raw));
  EXPECT_EQ(answer.substr(0, 4), GetParam().close) << answer;
  EXPECT_FALSE(closed().clean);
}

const std::string kHalfLong = std::string("\x82\xfe\x00\x7d", 4) + "keyk" + std::string(125, 'x');
const std::string kHuge = std::string("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10) + "keyk";

INSTANTIATE_TEST_SUITE_P(
    Every, BrokenFrames,
    ::testing::Values(Broken{"Unmasked", frame(1, "x", true, false), "1002"}, Broken{"ReservedBit", frame(1, "x", true, true, 4), "1002"},
                      Broken{"UnknownOpcode", frame(3, "x"), "1002"}, Broken{"UnknownControl", frame(11, "x"), "1002"},
                      Broken{"ContinuationOfNothing", frame(0, "x"), "1002"},
                      Broken{"MessageInMessage", frame(1, "x", false) + frame(1, "y"), "1002"},
                      Broken{"LongPing", frame(9, std::string(126, 'p')), "1002"}, Broken{"FragmentedPing", frame(9, "p", false), "1002"},
                      Broken{"HalfACloseCode", frame(8, "x"), "1002"},
                      Broken{"ForbiddenCloseCode", frame(8, std::string("\x03\xed", 2)), "1002"},
                      Broken{"CloseReasonNotUtf8", frame(8, std::string("\x03\xe8\xff", 3)), "1007"},
                      Broken{"TextNotUtf8", frame(1, "\xc3\x28"), "1007"}, Broken{"LengthNotMinimal", kHalfLong, "1002"},
                      Broken{"ImpossibleLength", kHuge, "1002"}),
    [](const auto& one) { return one.param.name; });

TEST_F(WebSockets, StreamModeHandsOutPiecesAndForgetsBoundaries) {
  serve({.read = WebSocketOptions::Read::stream});
  auto raw = dial();
  shake(raw);
  raw.send(frame(2, "one") + frame(2, "two", false) + frame(0, "three") + frame(2, ""));
  // A frame far beyond any message limit, only begun.
  const std::string begun = frame(2, std::string(100 << 20, 'y')).substr(0, 14 + 1000);
  raw.send(begun);
  heard_so_much(11 + 1000);
  std::lock_guard lock(heard->mutex);
  EXPECT_EQ(heard->data, "onetwothree" + std::string(1000, 'y'));
}

TEST_F(WebSockets, StreamModeRefusesText) {
  serve({.read = WebSocketOptions::Read::stream});
  auto raw = dial();
  shake(raw);
  raw.send(frame(1, "{}"));
  EXPECT_EQ(close_text(next_frame(raw)).substr(0, 4), "1003");
}

TEST_F(WebSockets, PausedReadingStopsTheClientAndLosesNothing) {
  serve({.read = WebSocketOptions::Read::stream});
  std::atomic<bool> paused = false;
  heard->received = [&](ByteView) {
    if (!paused.exchange(true)) heard->socket->pause_reading();
  };
  auto raw = dial();
  shake(raw);
  std::string all;
  for (int i = 0; i < 3000; ++i) all += frame(2, std::string(1000, static_cast<char>('a' + i % 26)));
  std::atomic<bool> sent = false;
  std::jthread sender([&] {
    raw.send(all);
    sent = true;
  });
  std::this_thread::sleep_for(100ms);
  EXPECT_FALSE(sent);
  on_reactor([&] { heard->socket->resume_reading(); });
  sender.join();
  heard_so_much(3'000'000);
  std::lock_guard lock(heard->mutex);
  ASSERT_EQ(heard->data.size(), 3'000'000u);
  for (std::size_t i = 0; i < heard->data.size(); ++i) ASSERT_EQ(heard->data[i], static_cast<char>('a' + i / 1000 % 26)) << i;
}

TEST_F(WebSockets, ASlowReaderMakesTheQueueVisibleAndDrainedIsTold) {
  serve();
  std::promise<void> drained;
  heard->drained = [&] { drained.set_value(); };
  auto raw = dial();
  shake(raw);
  const std::string big(5 << 20, 'q');
  const std::size_t queued = on_reactor([&] {
    heard->socket->send(MessageKind::binary, as_bytes(big));
    return heard->socket->queued_bytes();
  });
  EXPECT_GT(queued, 1u << 20);
  auto done = drained.get_future();
  EXPECT_EQ(done.wait_for(20ms), std::future_status::timeout);
  const auto message = next_frame(raw);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->payload, big);
  EXPECT_EQ(done.wait_for(5s), std::future_status::ready);
  EXPECT_EQ(on_reactor([&] { return heard->socket->queued_bytes(); }), 0u);
}

TEST_F(WebSockets, PingsOfOneWhoDoesNotReadFillNoMemory) {
  serve();
  auto raw = dial();
  shake(raw);
  on_reactor([&] { heard->socket->send(MessageKind::binary, std::string(4 << 20, 'q')); });
  const std::string ping = frame(9, std::string(125, 'p'));
  for (int i = 0; i < 20000; ++i) ASSERT_TRUE(raw.send(ping));
  EXPECT_LT(on_reactor([&] { return heard->socket->queued_bytes(); }), 5u << 20);
  const auto message = next_frame(raw);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->opcode, 2u);
  const auto pong = next_frame(raw);
  ASSERT_TRUE(pong);
  EXPECT_EQ(pong->opcode, 10u);
}

TEST_F(WebSockets, ASilentClientIsDroppedByPings) {
  serve({.ping_every = 40ms}, {.write_timeout = 80ms});
  auto raw = dial();
  shake(raw);
  const auto ping = next_frame(raw);
  ASSERT_TRUE(ping);
  EXPECT_EQ(ping->opcode, 9u);
  EXPECT_EQ(closed().code, 1006);
}

TEST_F(WebSockets, RefusesWhatIsNoUpgrade) {
  std::atomic<int> failed = 0;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    exchange->upgrade({}, [&](Result<std::shared_ptr<WebSocket>> upgraded) {
      EXPECT_FALSE(upgraded);
      upgraded.ignore("expected");
      ++failed;
    });
  });
  auto made = client();
  auto plain = made->request({.target = "/ws"}, in(5s));
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->status, 426u);
  EXPECT_EQ(plain->headers.get("Connection"), "Upgrade");
  EXPECT_EQ(plain->headers.get("Upgrade"), "websocket");
  Headers upgrade{{"Connection", "Upgrade"}, {"Upgrade", "websocket"}};
  Request request{.target = "/ws", .headers = upgrade};
  EXPECT_EQ(made->request(request, in(5s)).value().status, 400u);  // no version
  request.headers.add("Sec-WebSocket-Version", "8");
  EXPECT_EQ(made->request(request, in(5s)).value().status, 400u);
  request.headers.set("Sec-WebSocket-Version", "13");
  EXPECT_EQ(made->request(request, in(5s)).value().status, 400u);  // no key
  request.headers.add("Sec-WebSocket-Key", "short");
  EXPECT_EQ(made->request(request, in(5s)).value().status, 400u);
  EXPECT_TRUE(sandbox::testing::eventually([&] { return failed == 5; }));  // the answer may come before the handler is told
}

TEST_F(WebSockets, StopTellsTheHandler) {
  serve();
  auto raw = dial();
  shake(raw);
  server->stop();
  EXPECT_EQ(close_text(next_frame(raw)).substr(0, 4), "1001");
  EXPECT_FALSE(closed().clean);
  EXPECT_EQ(server->connections(), 0u);
}

TEST_F(WebSockets, ClosedIsToldInsideACallbackThatAborts) {
  serve();
  heard->message = [&](const std::string&) { heard->socket->abort(); };
  auto raw = dial();
  shake(raw);
  raw.send(frame(1, "x") + frame(1, "y"));
  EXPECT_EQ(closed().code, 1006);
}

}  // namespace
}  // namespace sandbox::http::test
