#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "core/unique_fd.hpp"

#include "live_service.hpp"
#include "raw_websocket.hpp"

// Ports of a sandbox from outside: tunnels, the path proxy, raw connections.
namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;

/// Answers each HTTP request with its own head, and then anything else with an echo.
constexpr const char* kServer = R"(
import socket, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', 8080)); s.listen(16)
def serve(c):
    data = c.recv(65536)
    if data.split(b' ')[0] in (b'GET', b'POST'):
        c.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n' % len(data) + data)
    else:
        while data:
            c.sendall(data)
            data = c.recv(65536)
    c.close()
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
)";

class ServerPorts : public LiveService {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "the server inside is a Python program";
    LiveService::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    id_ = create(R"({"ttl":60})");
    session_ = std::make_unique<RawWebSocket>(socket(), "/sandboxes/" + id_ + "/ws");
    ASSERT_EQ(session_->status(), 101u);
  }
  void TearDown() override {
    session_.reset();
    LiveService::TearDown();
  }
  void serve_inside() {
    rest::JsonWriter request;
    request.begin_object().member("jsonrpc", "2.0").member("id", 1).member("method", "process.spawn").key("params").begin_object();
    request.member("command", std::string("python3 -c \"") + kServer + "\"").end_object().end_object();
    session_->text(request.text());
    const std::string reply = session_->find("\"id\":1");
    ASSERT_NE(reply.find("result"), std::string::npos) << reply;
  }
  std::string ports(const std::string& rest = {}) const { return "/sandboxes/" + id_ + "/ports" + rest; }
  static int dial(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    ::close(fd);
    return -1;
  }

  std::string id_;
  std::unique_ptr<RawWebSocket> session_;
};

TEST_F(ServerPorts, AreCheckedBeforeAnythingIsOpened) {
  for (const char* bad : {"0", "99999", "-1", "65536", "x"}) {
    const auto response = call("POST", ports(std::string("/") + bad + "/expose"));
    EXPECT_EQ(response.status, 400u) << bad;
    EXPECT_NE(response.body.find("invalid port number"), std::string::npos);
  }
  EXPECT_EQ(get(ports()).body, "[]\n");
  EXPECT_EQ(call("DELETE", ports("/8080/expose")).status, 404u);
  EXPECT_EQ(get(ports("/8080/")).status, 403u);
  const auto nobody = call("POST", ports("/8080/expose"), R"({"timeout":0.2})");
  EXPECT_EQ(nobody.status, 502u);
  EXPECT_NE(nobody.body.find("port expose failed"), std::string::npos);
  EXPECT_EQ(get(ports()).body, "[]\n");
}

TEST_F(ServerPorts, WhoeverGoesAwayWhileAPortIsWaitedForLeavesItFree) {
  const auto ask = [&] {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket().c_str(), sizeof address.sun_path - 1);
    core::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::string body = R"({"timeout":60})";
    const std::string request = "POST " + ports("/8080/expose") + " HTTP/1.1\r\nHost: d\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    EXPECT_EQ(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
    return fd;
  };
  const auto taken = [&] { return call("POST", ports("/8080/expose"), R"({"timeout":0.01})").status == 409; };
  // Until it is this one that waits, and not a look whether it does.
  const auto wait_there = [&] {
    core::UniqueFd fd;
    EXPECT_TRUE(eventually([&] {
      char byte;
      if (!fd || ::recv(fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) fd = ask();
      return taken();
    }));
    return fd;
  };
  wait_there();
  EXPECT_TRUE(eventually([&] { return !taken(); })) << "long before a minute is over";
  // Only its sending side ends: it is answered, and the port is free when it is.
  const auto half = wait_there();
  const auto begin = core::SteadyClock::now();
  ::shutdown(half.get(), SHUT_WR);
  char answer[256] = {};
  ASSERT_GT(::recv(half.get(), answer, sizeof answer - 1, 0), 0);
  EXPECT_TRUE(std::string_view(answer).starts_with("HTTP/1.1 502 ")) << answer;
  EXPECT_LT(core::SteadyClock::now() - begin, 10s);
  EXPECT_FALSE(taken());
  // Who waits now is not disturbed by those who have given up.
  serve_inside();
  EXPECT_EQ(call("POST", ports("/8080/expose")).status, 200u);
  EXPECT_EQ(rest::read_ports(get(ports()).body).value().size(), 1u);
}

TEST_F(ServerPorts, ATunnelLeadsInsideUntilItIsClosed) {
  serve_inside();
  const auto exposed = call("POST", ports("/8080/expose"));
  ASSERT_EQ(exposed.status, 200u) << exposed.body;
  const ExposedPort port = rest::read_port(exposed.body).value();
  EXPECT_EQ(port.port, 8080);
  EXPECT_NE(exposed.body.find("\"url\":\"http://localhost:" + std::to_string(port.host_port) + "\""), std::string::npos) << exposed.body;
  EXPECT_EQ(call("POST", ports("/8080/expose")).status, 409u);
  EXPECT_EQ(rest::read_ports(get(ports()).body).value().size(), 1u);

  const int fd = dial(port.host_port);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::send(fd, "ping", 4, 0), 4);
  char answer[4];
  ASSERT_EQ(::recv(fd, answer, 4, MSG_WAITALL), 4);
  EXPECT_EQ(std::string(answer, 4), "ping");
  ::close(fd);
  EXPECT_EQ(call("DELETE", ports("/8080/expose")).status, 204u);
  EXPECT_LT(dial(port.host_port), 0);
}

TEST_F(ServerPorts, TheProxyStripsPrefixAndIdentity) {
  serve_inside();
  ASSERT_EQ(call("POST", ports("/8080/expose")).status, 200u);
  const auto response = call("POST", ports("/8080/a%20b/c?x=1"), "body",
                             {{"Authorization", "Bearer secret"}, {"X-Sandbox-Signature", "secret"}, {"X-Sandbox-Whatever", "secret"}, {"X-Mine", "kept"}});
  ASSERT_EQ(response.status, 200u) << response.body;
  EXPECT_TRUE(response.body.starts_with("POST /a%20b/c?x=1 HTTP/1.1\r\n")) << response.body;
  EXPECT_EQ(response.body.find("secret"), std::string::npos) << response.body;
  for (const char* header : {"X-Mine: kept", "X-Forwarded-Proto: http", "X-Forwarded-Host: ", "X-Forwarded-For: "})
    EXPECT_NE(response.body.find(header), std::string::npos) << header << "\n" << response.body;
  EXPECT_NE(response.body.find("X-Sandbox-ID: " + id_), std::string::npos) << response.body;
  EXPECT_TRUE(get(ports("/8080")).body.starts_with("GET / HTTP/1.1\r\n"));
}

TEST_F(ServerPorts, ARawConnectionNeedsNoTunnel) {
  serve_inside();
  RawWebSocket ws(socket(), ports("/8080/connect"));
  ASSERT_EQ(ws.status(), 101u) << ws.response();
  ws.send(2, "abc");
  std::string got;
  while (got.size() < 3) {
    const auto message = ws.next();
    ASSERT_TRUE(message);
    got += message->payload;
  }
  EXPECT_EQ(got, "abc");
  ws.close(1000);
  EXPECT_EQ(RawWebSocket(socket(), ports("/9/connect")).status(), 502u);
}

TEST_F(ServerPorts, TunnelsEndWithTheirSandbox) {
  serve_inside();
  const auto exposed = call("POST", ports("/8080/expose"));
  ASSERT_EQ(exposed.status, 200u) << exposed.body;
  const std::uint16_t host_port = rest::read_port(exposed.body).value().host_port;
  EXPECT_EQ(call("DELETE", "/sandboxes/" + id_).status, 204u);
  EXPECT_LT(dial(host_port), 0);
}

}  // namespace
}  // namespace sandbox::testing
