#include <fcntl.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "harness.hpp"
#include "support/eventually.hpp"
#include "support/failure.hpp"

namespace sandbox::http::test {
namespace {

TEST(Endpoints, ParseAndPrint) {
  const struct {
    const char* text;
    const char* printed;
    const char* authority;
  } good[] = {
      {"unix:///run/x.sock", "unix:///run/x.sock", "localhost"},
      {"/run/x.sock", "unix:///run/x.sock", "localhost"},
      {"http://host:8080", "http://host:8080", "host:8080"},
      {"http://host", "http://host", "host"},
      {"https://[::1]:443/a/b/", "https://[::1]/a/b", "[::1]"},
      {"https://h:9/p", "https://h:9/p", "h:9"},
  };
  for (const auto& one : good) {
    auto endpoint = Endpoint::parse(one.text);
    ASSERT_TRUE(endpoint) << one.text << ": " << endpoint.error().to_string();
    EXPECT_EQ(endpoint->to_string(), one.printed);
    EXPECT_EQ(endpoint->authority(), one.authority);
  }
  for (const char* bad : {"", "host:80", "ftp://x", "http://", "http://h:0", "http://h:70000", "http://h:", "http://u@h", "http://[::1",
                          "http://h/?q", "http://h h", "unix://relative", "http://h\r\nX: 1"}) {
    auto endpoint = Endpoint::parse(bad);
    ASSERT_FALSE(endpoint) << bad;
    EXPECT_EQ(endpoint.error().code(), ErrorCode::invalid_argument);
  }
  EXPECT_EQ(sandbox::testing::failure(Endpoint::parse("/" + std::string(120, 'x'))), ErrorCode::invalid_argument);
}

class Clients : public ServerTest {
 protected:
  /// A server spoken by hand: accepts on `socket` and runs `serve` with each connection, one after the other.
  void by_hand(std::function<void(Raw&, int)> serve) {
    const core::UniqueFd* listening = &listener;
    listener = core::UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener.get(), 10), 0);
    hand = std::thread([listening, serve = std::move(serve)] {
      for (int i = 0;; ++i) {
        core::UniqueFd accepted(::accept(listening->get(), nullptr, nullptr));
        if (!accepted) return;
        Raw raw(std::move(accepted));
        serve(raw, i);
      }
    });
  }
  ~Clients() override {
    if (listener) ::shutdown(listener.get(), SHUT_RDWR);
    if (hand.joinable()) hand.join();
  }
  core::UniqueFd listener;
  std::thread hand;
};

TEST_F(Clients, KeepAConnectionAndUseItAgain) {
  start(echo);
  auto made = client();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(made->request({.target = "/"}, in(5s)));
  EXPECT_EQ(server->connections(), 1u);
}

TEST_F(Clients, ManyThreadsShareOneClient) {
  start(echo);
  auto made = client({.max_idle = 4});
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) {
          const std::string body = std::to_string(t) + ":" + std::to_string(i);
          auto answer = made->request({.method = "POST", .target = "/", .body = body}, in(10s));
          if (!answer || answer->body != "POST / " + body) ++wrong;
          if (!answer) answer.ignore("counted");
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
}

TEST_F(Clients, CarryLargeBodies) {
  start([](const std::shared_ptr<Exchange>& exchange) {
    exchange->read_body(32 << 20, [exchange](Result<std::string> body) { exchange->respond(text_response(200, std::move(*body))); });
  });
  const std::string big(20 << 20, 'B');
  auto answer = client()->request({.method = "PUT", .target = "/", .body = big}, in(20s));
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_TRUE(answer->body == big);
}

TEST_F(Clients, SayWhatToDoWhenNobodyListens) {
  auto nobody = client()->request({.target = "/"}, in(5s));
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code(), ErrorCode::unavailable);
  EXPECT_NE(nobody.error().message().find("is sandboxd running?"), std::string::npos) << nobody.error().message();
  EXPECT_NE(nobody.error().message().find(socket), std::string::npos);
  port = 1;
  auto refused = tcp_client()->request({.target = "/"}, in(5s));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::unavailable);
}

TEST_F(Clients, HonourTheDeadline) {
  std::shared_ptr<Exchange> held;
  start([&](const std::shared_ptr<Exchange>& exchange) { held = exchange; });
  const auto before = core::SteadyClock::now();
  auto answer = client()->request({.target = "/"}, in(50ms));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::deadline_exceeded);
  EXPECT_LT(core::SteadyClock::now() - before, 2s);
  on_reactor([&] { held.reset(); });
}

TEST_F(Clients, AStopIsToldToTheServerWhichStillAnswers) {
  std::atomic<bool> working = false;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    if (exchange->request().target == "/quick") return exchange->respond(text_response(200, "ok"));
    exchange->on_cancelled([exchange] { exchange->respond(text_response(503, "gave up")); });
    working = true;
  });
  auto made = client();
  ASSERT_TRUE(made->request({.target = "/quick"}, in(5s)));  // so that the connection is one that was kept
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] { return made->request({.method = "POST", .target = "/"}, in(60s), stop.get_token()); });
  ASSERT_TRUE(sandbox::testing::eventually([&] { return working.load(); }));
  stop.request_stop();
  const auto answer = waiting.get();
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->body, "gave up");
  // Asked to stop before it began, nothing is sent; and the stopped connection is not used again.
  EXPECT_EQ(sandbox::testing::failure(made->request({.target = "/quick"}, in(5s), stop.get_token())), ErrorCode::cancelled);
  EXPECT_TRUE(made->request({.target = "/quick"}, in(5s), std::stop_source().get_token()));
}

TEST_F(Clients, AStopDoesNotWaitForAServerThatSaysNothing) {
  std::atomic<bool> asked = false;
  by_hand([&](Raw& raw, int) {
    raw.read_until("\r\n\r\n");
    asked = true;
    raw.read_until([&](const std::string&) { return false; }, 500ms);  // it hears of it …
    EXPECT_TRUE(raw.closed);
    pollfd gone{raw.fd(), 0, 0};
    ::poll(&gone, 1, 30000);  // … and does nothing until we are gone
  });
  auto made = client();
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] { return made->request({.method = "POST", .target = "/"}, in(60s), stop.get_token()); });
  ASSERT_TRUE(sandbox::testing::eventually([&] { return asked.load(); }));
  const auto begin = core::SteadyClock::now();
  stop.request_stop();
  EXPECT_EQ(sandbox::testing::failure(waiting.get()), ErrorCode::cancelled);
  EXPECT_LT(core::SteadyClock::now() - begin, kStopTime + 18s);
}

TEST_F(Clients, RepeatOnceOnAConnectionGoneStale) {
  std::atomic<int> served = 0;
  by_hand([&](Raw& raw, int) {
    // One request per connection although it promises more; the client finds out on its second.
    raw.read_until("\r\n\r\n");
    ++served;
    raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    raw.got.clear();
    raw.read_until("GET");  // the second request has arrived: so the client could not know before sending
  });
  auto made = client();
  ASSERT_TRUE(made->request({.target = "/1"}, in(5s)));
  auto second = made->request({.target = "/2"}, in(5s));
  ASSERT_TRUE(second) << second.error().to_string();
  EXPECT_EQ(served, 2);
  made.reset();
}

TEST_F(Clients, DoNotRepeatWhatMayHaveHappened) {
  std::atomic<int> posts = 0;
  by_hand([&](Raw& raw, int) {
    raw.read_until("\r\n\r\n");
    if (raw.got.starts_with("POST")) {
      ++posts;
      return;
    }
    raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    raw.got.clear();
    raw.read_until("POST");
    ++posts;
  });
  auto made = client();
  ASSERT_TRUE(made->request({.target = "/"}, in(5s)));
  auto second = made->request({.method = "POST", .target = "/"}, in(5s));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::unavailable);
  EXPECT_EQ(posts, 1);
}

TEST_F(Clients, SurviveWhatABrokenServerSends) {
  static const std::string answers[] = {  // the serving thread may outlive this test's body
      "garbage\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "HTTP/1.1 200 OK\r\nX: " + std::string(100000, 'x') + "\r\n\r\n",
  };
  by_hand([&](Raw& raw, int i) {
    raw.read_until("\r\n\r\n");
    raw.send(answers[i]);
  });
  auto made = client();
  for (const std::string& answer : answers) {
    auto got = made->request({.method = "POST", .target = "/"}, in(5s));
    ASSERT_FALSE(got) << answer.substr(0, 60);
    EXPECT_EQ(got.error().code(), ErrorCode::protocol) << answer.substr(0, 60) << got.error().to_string();
  }
}

TEST_F(Clients, RefuseAnAnswerLargerThanTheirLimit) {
  start([](const std::shared_ptr<Exchange>& exchange) { exchange->respond(text_response(200, std::string(2000, 'x'))); });
  auto answer = client({.max_response = 1000})->request({.target = "/"}, in(5s));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::resource_exhausted);
}

TEST_F(Clients, NeverSendAHeadThatIsTwo) {
  auto made = client();
  for (const Request& request : {Request{.target = "/ HTTP/1.1\r\nX: 1"}, Request{.target = "no-slash"}, Request{.method = "GET /"},
                                 Request{.headers = {{"X", "a\r\nY: b"}}}}) {
    auto answer = made->request(request, in(5s));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code(), ErrorCode::invalid_argument);
  }
}

TEST_F(Clients, AStreamCanBeCancelledFromAnotherThread) {
  std::shared_ptr<BodyWriter> writer;
  start([&](const std::shared_ptr<Exchange>& exchange) { writer = exchange->stream({200, {}, ""}); });
  auto stream = client()->open_stream({.target = "/"}, in(5s));
  ASSERT_TRUE(stream) << stream.error().to_string();
  auto nothing = (*stream)->read(in(20ms));
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code(), ErrorCode::deadline_exceeded);
  on_reactor([&] { writer->write("data: 1\n\n"); });
  EXPECT_EQ((*stream)->read(in(5s)).value(), "data: 1\n\n");
  std::jthread canceller([&] {
    std::this_thread::sleep_for(30ms);
    (*stream)->cancel();
  });
  auto cancelled = (*stream)->read(core::TimePoint::max());
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code(), ErrorCode::cancelled);
  on_reactor([&] { writer.reset(); });
}

TEST(Messages, QueryValuesAreDecoded) {
  RequestHead head;
  head.query = "label=a%3Ab&x&label=c+d&bad=%zz&=";
  EXPECT_EQ(head.query_values("label"), (std::vector<std::string>{"a:b", "c d"}));
  EXPECT_EQ(head.query_value("x"), "");
  EXPECT_EQ(head.query_value("missing"), std::nullopt);
  EXPECT_EQ(head.query_value("bad"), std::nullopt);
  EXPECT_EQ(percent_encode("/a b\xc3\xa9", "/"), "/a%20b%C3%A9");
}

}  // namespace
}  // namespace sandbox::http::test
