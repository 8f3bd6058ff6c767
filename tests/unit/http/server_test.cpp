#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "harness.hpp"
#include "support/eventually.hpp"

namespace sandbox::http::test {
namespace {

class Servers : public ServerTest {};

TEST_F(Servers, AnswersAndKeepsTheConnection) {
  start(echo);
  auto raw = dial();
  raw.send("GET /a%20b?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
  raw.read_until("GET /a b?x=1 ");
  EXPECT_TRUE(raw.got.starts_with("HTTP/1.1 200 OK\r\n")) << raw.got;
  EXPECT_NE(raw.got.find("\r\nDate: "), std::string::npos);
  raw.got.clear();
  raw.send("POST /second HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
  raw.read_until("POST /second hello");
  EXPECT_NE(raw.got.find("Content-Length: 18"), std::string::npos) << raw.got;
  EXPECT_FALSE(raw.closed);
}

TEST_F(Servers, AnswersPipelinedRequestsOneAfterTheOther) {
  std::atomic<int> running = 0, most = 0;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    most = std::max(most.load(), ++running);
    boost::asio::post(exchange->context(), [&, exchange] {
      --running;
      exchange->respond(text_response(200, exchange->request().path + "|"));
    });
  });
  auto raw = dial();
  std::string all;
  for (int i = 0; i < 50; ++i) all += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
  raw.send(all);
  raw.read_until("/49|");
  std::size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = raw.got.find("/" + std::to_string(i) + "|", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_EQ(most, 1);
}

TEST_F(Servers, DecodesAChunkedBodyAcrossPackets) {
  start(echo);
  auto raw = dial();
  raw.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
  std::this_thread::sleep_for(10ms);  // so that the chunk comes in two pieces
  raw.send("lo\r\n7;ext=1\r\n, world\r\n0\r\nTrailer: x\r\n\r\n");
  raw.read_until("POST / hello, world");
  EXPECT_TRUE(raw.got.ends_with("POST / hello, world")) << raw.got;
}

TEST_F(Servers, SendsContinueOnlyToThoseWhoseBodyIsWanted) {
  start([](const std::shared_ptr<Exchange>& exchange) {
    if (exchange->request().path == "/no") return exchange->respond(text_response(403, "no"));
    echo(exchange);
  });
  auto wanted = dial();
  wanted.send("POST /yes HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  wanted.read_until("100 Continue\r\n\r\n");
  EXPECT_EQ(wanted.got, "HTTP/1.1 100 Continue\r\n\r\n");
  wanted.send("ok");
  EXPECT_NE(wanted.read_until("POST /yes ok").find("200 OK"), std::string::npos);

  auto refused = dial();
  refused.send("POST /no HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  refused.read_to_end();
  EXPECT_TRUE(refused.got.starts_with("HTTP/1.1 403")) << refused.got;
  EXPECT_NE(refused.got.find("Connection: close"), std::string::npos);
}

TEST_F(Servers, RefusesABodyOverTheLimitWithoutReadingIt) {
  start([](const std::shared_ptr<Exchange>& exchange) {
    exchange->read_body(10, [exchange](Result<std::string> body) {
      exchange->respond(text_response(body ? 200 : 413, body ? *body : body.error().message()));
    });
  });
  auto announced = dial();
  announced.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n");
  EXPECT_TRUE(announced.read_to_end().starts_with("HTTP/1.1 413")) << announced.got;
  auto chunked = dial();
  chunked.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n");
  EXPECT_TRUE(chunked.read_until("exceeds").starts_with("HTTP/1.1 413")) << chunked.got;
}

TEST_F(Servers, SkipsAShortBodyNobodyReadAndServesTheNextRequest) {
  start([](const std::shared_ptr<Exchange>& exchange) { exchange->respond(text_response(200, exchange->request().path + ";")); });
  auto raw = dial();
  raw.send("POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /GET /two HTTP/1.1\r\nHost: h\r\n\r\n");
  raw.read_until("/two;");
  EXPECT_NE(raw.got.find("/one;"), std::string::npos);
  EXPECT_NE(raw.got.find("/two;"), std::string::npos);
}

TEST_F(Servers, HeadGetsTheLengthAndNoBody) {
  start([](const std::shared_ptr<Exchange>& exchange) { exchange->respond(text_response(200, "12345")); });
  auto raw = dial();
  raw.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
  raw.read_until("\r\n\r\n");
  EXPECT_NE(raw.got.find("Content-Length: 5"), std::string::npos) << raw.got;
  EXPECT_TRUE(raw.got.ends_with("\r\n\r\n"));
  auto answer = client()->request({.method = "HEAD", .target = "/"}, in(5s));
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->body, "");
}

TEST_F(Servers, AnsweringFromAnotherThreadWorks) {
  std::vector<std::jthread> threads;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    threads.emplace_back([exchange] { exchange->respond(text_response(200, "from a thread")); });
  });
  auto made = client();
  for (int i = 0; i < 20; ++i) {
    auto answer = made->request({.target = "/"}, in(5s));
    ASSERT_TRUE(answer) << answer.error().to_string();
    EXPECT_EQ(answer->body, "from a thread");
  }
}

TEST_F(Servers, ADroppedExchangeIsAnsweredWith500) {
  start([](const std::shared_ptr<Exchange>&) {});
  auto answer = client()->request({.target = "/"}, in(5s));
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->status, 500u);
}

TEST_F(Servers, NeverSendsHeadersThatBreakTheHead) {
  start([](const std::shared_ptr<Exchange>& exchange) {
    exchange->respond({200, {{"X-Bad", "a\r\nX-Injected: 1"}, {"Bad Name", "x"}, {"Content-Length", "999"}, {"X-Good", "1"}}, "ok"});
  });
  auto answer = client()->request({.target = "/"}, in(5s));
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_FALSE(answer->headers.find("X-Injected"));
  EXPECT_FALSE(answer->headers.find("X-Bad"));
  EXPECT_TRUE(answer->headers.find("X-Good"));
  EXPECT_EQ(answer->headers.get("Content-Length"), "2");
}

TEST_F(Servers, TellsWhoIsThere) {
  start([](const std::shared_ptr<Exchange>& exchange) {
    const Peer& peer = exchange->peer();
    exchange->respond(text_response(200, peer.is_unix() ? "unix " + std::to_string(peer.uid) + " " + std::to_string(peer.pid)
                                                        : "tcp " + peer.address));
  });
  EXPECT_EQ(client()->request({.target = "/"}, in(5s)).value().body,
            "unix " + std::to_string(::getuid()) + " " + std::to_string(::getpid()));
  EXPECT_EQ(tcp_client()->request({.target = "/"}, in(5s)).value().body, "tcp 127.0.0.1");
}

TEST_F(Servers, FinishedTellsTheStatusOnce) {
  std::promise<unsigned> status;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    exchange->on_finished([&](unsigned code) { status.set_value(code); });
    exchange->respond(text_response(204, ""));
  });
  EXPECT_EQ(client()->request({.target = "/"}, in(5s)).value().status, 204u);
  EXPECT_EQ(status.get_future().get(), 204u);
}

TEST_F(Servers, CancelledWhenTheClientLeaves) {
  std::promise<void> begun, cancelled;
  std::shared_ptr<Exchange> held;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    held = exchange;
    exchange->on_cancelled([&] { cancelled.set_value(); });
    begun.set_value();
  });
  {
    auto raw = dial();
    raw.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    begun.get_future().wait();
  }
  EXPECT_EQ(cancelled.get_future().wait_for(5s), std::future_status::ready);
  on_reactor([&] { held.reset(); });
}

TEST_F(Servers, StreamsWithBackpressureAndReportsDrained) {
  std::shared_ptr<BodyWriter> writer;
  std::promise<std::size_t> queued;
  std::promise<void> drained;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    writer = exchange->stream({200, {{"Content-Type", "text/event-stream"}}, "data: first\n\n"});
    writer->on_drained([&] { drained.set_value(); });
    writer->write(std::string(8 << 20, 'x'));
    queued.set_value(writer->queued_bytes());
  });
  auto made = client();
  auto stream = made->open_stream({.target = "/"}, in(5s));
  ASSERT_TRUE(stream) << stream.error().to_string();
  EXPECT_GT(queued.get_future().get(), 1u << 20);
  std::size_t total = 0;
  while (total < (8 << 20) + 13) {
    auto piece = (*stream)->read(in(5s));
    ASSERT_TRUE(piece) << piece.error().to_string();
    ASSERT_FALSE(piece->empty());
    total += piece->size();
  }
  EXPECT_EQ(drained.get_future().wait_for(5s), std::future_status::ready);
  on_reactor([&] { writer->finish(); });
  EXPECT_EQ((*stream)->read(in(5s)).value(), "");
  on_reactor([&] { writer.reset(); });
}

TEST_F(Servers, AStreamHearsThatItsReaderLeft) {
  std::shared_ptr<BodyWriter> writer;
  std::promise<void> closed;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    writer = exchange->stream({200, {}, ""});
    writer->on_closed([&] { closed.set_value(); });
  });
  {
    auto made = client();
    auto stream = made->open_stream({.target = "/"}, in(5s));
    ASSERT_TRUE(stream) << stream.error().to_string();
  }
  EXPECT_EQ(closed.get_future().wait_for(5s), std::future_status::ready);
  on_reactor([&] { writer.reset(); });
}

TEST_F(Servers, AStreamDroppedUnfinishedBreaksTheBody) {
  start([](const std::shared_ptr<Exchange>& exchange) { exchange->stream({200, {}, "half"}); });
  auto answer = client()->request({.target = "/"}, in(5s));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::unavailable);
}

TEST_F(Servers, RefusesConnectionsBeyondTheLimit) {
  start(echo, {.max_connections = 2});
  auto one = client(), two = client();
  ASSERT_TRUE(one->request({.target = "/"}, in(5s)));
  ASSERT_TRUE(two->request({.target = "/"}, in(5s)));
  auto raw = dial();
  EXPECT_TRUE(raw.read_to_end().starts_with("HTTP/1.1 503")) << raw.got;
  one.reset();
  EXPECT_TRUE(sandbox::testing::eventually([&] { return server->connections() < 2; }));
  EXPECT_TRUE(client()->request({.target = "/"}, in(5s)));
}

TEST_F(Servers, DrainLetsTheRunningFinishAndClosesTheIdle) {
  std::shared_ptr<Exchange> held;
  std::promise<void> running;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    if (exchange->request().path != "/slow") return exchange->respond(text_response(200, "quick"));
    held = exchange;
    running.set_value();
  });
  auto idle = dial();
  idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  idle.read_until("quick");
  auto slow = dial();
  slow.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
  running.get_future().wait();
  std::promise<void> drained;
  server->drain(in(5s), [&] { drained.set_value(); });
  idle.read_to_end();
  EXPECT_TRUE(idle.closed);
  EXPECT_FALSE(std::filesystem::exists(socket));
  auto done = drained.get_future();
  EXPECT_EQ(done.wait_for(50ms), std::future_status::timeout);
  on_reactor([&] { std::exchange(held, nullptr)->respond(text_response(200, "at last")); });
  EXPECT_NE(slow.read_to_end().find("at last"), std::string::npos);
  EXPECT_EQ(done.wait_for(5s), std::future_status::ready);
}

TEST_F(Servers, DrainEndsAtItsDeadline) {
  std::shared_ptr<Exchange> held;
  std::promise<void> running;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    held = exchange;
    running.set_value();
  });
  auto slow = dial();
  slow.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
  running.get_future().wait();
  std::promise<void> drained;
  server->drain(in(50ms), [&] { drained.set_value(); });
  EXPECT_EQ(drained.get_future().wait_for(5s), std::future_status::ready);
  EXPECT_EQ(slow.read_to_end(), "");
  on_reactor([&] { held.reset(); });
}

TEST_F(Servers, UnixSocketHasItsModeAndReplacesAStaleOne) {
  { core::UniqueFd stale = core::UniqueFd(::socket(AF_UNIX, SOCK_STREAM, 0)); }
  start(echo);
  struct stat made {};
  ASSERT_EQ(::stat(socket.c_str(), &made), 0);
  EXPECT_EQ(made.st_mode & 0777, 0660u);
  Server second(reactor.context(), {}, echo);
  auto taken = second.listen_unix(socket);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code(), ErrorCode::already_exists);
  // What a killed server leaves behind: a file nobody listens on.
  const std::string copy = dir / "sub/stale.sock";
  ASSERT_TRUE(second.listen_unix(copy));
  ASSERT_EQ(::rename(copy.c_str(), (dir / "moved.sock").c_str()), 0);
  second.stop();
  Server third(reactor.context(), {}, echo);
  EXPECT_TRUE(third.listen_unix(dir / "moved.sock"));
  third.stop();
  EXPECT_FALSE(std::filesystem::exists(dir / "moved.sock"));
  EXPECT_TRUE(std::filesystem::exists(socket));
}

}  // namespace
}  // namespace sandbox::http::test
