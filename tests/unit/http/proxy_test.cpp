#include <sys/un.h>

#include <algorithm>
#include <thread>

#include "ws_harness.hpp"

namespace sandbox::http::test {
namespace {

std::size_t count_after_head(const std::string& message, char what) {
  const auto body = message.begin() + static_cast<std::ptrdiff_t>(message.find("\r\n\r\n"));
  return static_cast<std::size_t>(std::count(body, message.end(), what));
}

/// The server in front forwards everything to an upstream the test speaks for by hand.
class Proxies : public ServerTest {
 protected:
  void forward(ProxyOptions options = {}, ServerOptions server_options = {}) {
    start(
        [this, options](const std::shared_ptr<Exchange>& exchange) {
          int pair[2];
          ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
          ProxyOptions mine = options;
          mine.target = "/rewritten" + (exchange->request().query.empty() ? "" : "?" + exchange->request().query);
          exchange->on_finished([this](unsigned status) { statuses.push_back(status); });
          upstreams.push_back(core::UniqueFd(pair[1]));
          exchange->proxy(core::UniqueFd(pair[0]), std::move(mine));
          arrived.set_value();
        },
        server_options);
  }
  Raw upstream() {
    arrived.get_future().wait();
    arrived = {};
    return Raw(on_reactor([&] { return std::move(upstreams.back()); }));
  }

  ~Proxies() override {
    if (server) server->stop();  // its callbacks write to what follows
  }

  std::vector<core::UniqueFd> upstreams;
  std::vector<unsigned> statuses;
  std::promise<void> arrived;
};

TEST_F(Proxies, RewritesStripsAndAdds) {
  forward({.strip = {"Authorization", "X-Sandbox-*"}, .add = {{"X-Forwarded-For", "192.0.2.1"}}});
  auto raw = dial();
  raw.send("POST /long/way?a=b HTTP/1.1\r\nHost: example\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nAuthorization: secret\r\n"
           "X-Sandbox-Identity: me\r\nX-Forwarded-For: spoofed\r\nX-Kept: yes\r\nContent-Length: 4\r\n\r\nbody");
  auto up = upstream();
  up.read_until("\r\n\r\nbody");
  EXPECT_TRUE(up.got.starts_with("POST /rewritten?a=b HTTP/1.1\r\n")) << up.got;
  for (const char* gone : {"Authorization", "X-Sandbox", "X-Hop", "spoofed", "keep-alive"}) {
    EXPECT_EQ(up.got.find(gone), std::string::npos) << gone << " in\n" << up.got;
  }
  for (const char* there : {"Host: example\r\n", "X-Kept: yes\r\n", "X-Forwarded-For: 192.0.2.1\r\n", "Connection: close\r\n"}) {
    EXPECT_NE(up.got.find(there), std::string::npos) << there << " not in\n" << up.got;
  }
  up.send("HTTP/1.1 418 Odd\r\nX-App: 1\r\nConnection: X-Private\r\nX-Private: 1\r\nContent-Length: 5\r\n\r\nhello");
  raw.read_until("hello");
  EXPECT_TRUE(raw.got.starts_with("HTTP/1.1 418 ")) << raw.got;
  EXPECT_NE(raw.got.find("X-App: 1"), std::string::npos);
  EXPECT_EQ(raw.got.find("X-Private"), std::string::npos);
  EXPECT_FALSE(raw.closed);
  // The client's connection serves on, whatever upstream's does.
  raw.got.clear();
  raw.send("GET /again HTTP/1.1\r\nHost: example\r\n\r\n");
  auto next = upstream();
  EXPECT_TRUE(next.read_until("\r\n\r\n").starts_with("GET /rewritten HTTP/1.1\r\n"));
  next.send("HTTP/1.1 204 None\r\n\r\n");
  EXPECT_TRUE(raw.read_until("\r\n\r\n").starts_with("HTTP/1.1 204 ")) << raw.got;
}

TEST_F(Proxies, StreamsChunkedBothWaysWithBackpressure) {
  forward();
  auto raw = dial();
  constexpr std::size_t kSize = 12 << 20;
  std::thread sender([&] {
    raw.send("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    const std::string chunk = "10000\r\n" + std::string(65536, 'x') + "\r\n";
    for (std::size_t i = 0; i < kSize / 65536; ++i) raw.send(chunk);
    raw.send("0\r\n\r\n");
  });
  auto up = upstream();
  up.read_until([](const std::string& so_far) { return so_far.ends_with("0\r\n\r\n"); }, 20s);
  sender.join();
  EXPECT_NE(up.got.find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_EQ(count_after_head(up.got, 'x'), kSize);
  std::thread answer([&] {
    up.send("HTTP/1.1 200 OK\r\n\r\n");  // until close
    for (std::size_t i = 0; i < kSize / 65536; ++i) up.send(std::string(65536, 'y'));
    up.take().reset();
  });
  raw.read_until([](const std::string& so_far) { return so_far.ends_with("0\r\n\r\n"); }, 20s);
  answer.join();
  EXPECT_EQ(count_after_head(raw.got, 'y'), kSize);
  EXPECT_FALSE(raw.closed);
}

TEST_F(Proxies, AnswersBadGatewayWhenUpstreamHasNoHead) {
  forward({.bad_gateway = json_response(502, "{\"error\":\"proxy error\"}\n")});
  for (const std::string_view answer : {"", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Le"}) {
    auto raw = dial();
    raw.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    auto up = upstream();
    up.read_until("\r\n\r\n");
    up.send(answer);
    up.take().reset();
    raw.read_until("proxy error");
    EXPECT_TRUE(raw.got.starts_with("HTTP/1.1 502 ")) << raw.got;
  }
}

TEST_F(Proxies, ABodyCutOffUpstreamIsCutOffHere) {
  forward();
  auto raw = dial();
  raw.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  auto up = upstream();
  up.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
  up.take().reset();
  raw.read_to_end();
  EXPECT_TRUE(raw.closed);
  EXPECT_TRUE(raw.got.ends_with("only this")) << raw.got;
}

TEST_F(Proxies, GivesUpOnASilentUpstream) {
  forward({.head_timeout = 50ms}, {.write_timeout = 100ms});
  auto raw = dial();
  raw.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  auto up = upstream();
  EXPECT_TRUE(raw.read_until("bad gateway").starts_with("HTTP/1.1 502 ")) << raw.got;
}

TEST_F(Proxies, ClosesUpstreamWhenTheClientLeaves) {
  forward();
  Raw up(core::UniqueFd{});
  {
    auto raw = dial();
    raw.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    up = upstream();
    up.read_until("\r\n\r\n");
  }
  up.got.clear();
  up.read_to_end();
  EXPECT_TRUE(up.closed);
}

TEST_F(Proxies, AnUpgradeBecomesARelay) {
  forward();
  auto raw = dial();
  raw.send("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly");
  auto up = upstream();
  up.read_until("\r\n\r\n");
  EXPECT_NE(up.got.find("Upgrade: websocket\r\n"), std::string::npos) << up.got;
  EXPECT_NE(up.got.find("Connection: Upgrade\r\n"), std::string::npos) << up.got;
  EXPECT_EQ(up.got.find("early"), std::string::npos) << "not before upstream agreed";
  up.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\nfirst");
  raw.read_until("first");
  EXPECT_TRUE(raw.got.starts_with("HTTP/1.1 101 ")) << raw.got;
  EXPECT_NE(raw.got.find("Sec-WebSocket-Accept: a"), std::string::npos);
  up.read_until("early");
  const std::string big(3 << 20, 'b');
  std::thread sender([&] { raw.send(big + "end"); });
  up.read_until([](const std::string& so_far) { return so_far.ends_with("end"); });
  sender.join();
  EXPECT_GT(up.got.size(), big.size());
  // Half a close is passed on, the other half still carries.
  ::shutdown(raw.fd(), SHUT_WR);
  up.read_to_end();
  EXPECT_TRUE(up.closed);
  up.send("still here");
  EXPECT_NE(raw.read_until("still here").find("still here"), std::string::npos);
  up.take().reset();
  raw.read_to_end();
  EXPECT_TRUE(raw.closed);
  EXPECT_TRUE(sandbox::testing::eventually([&] { return on_reactor([&] { return !statuses.empty(); }); }));
  EXPECT_EQ(statuses, std::vector<unsigned>{101});
  EXPECT_TRUE(sandbox::testing::eventually([&] { return server->connections() == 0; })) << server->connections();
}

TEST_F(Proxies, AnIdleRelayEnds) {
  forward({.idle_limit = 100ms}, {.write_timeout = 100ms});
  auto raw = dial();
  raw.send("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
  auto up = upstream();
  up.read_until("\r\n\r\n");
  up.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
  raw.read_to_end();
  EXPECT_TRUE(raw.closed);
  up.read_to_end();
  EXPECT_TRUE(up.closed);
}

}  // namespace
}  // namespace sandbox::http::test
