#include <openssl/ssl.h>

#include <poll.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <thread>

#include "support/certificate.hpp"
#include "support/eventually.hpp"
#include "ws_harness.hpp"

namespace sandbox::http::test {
namespace {

class Tls : public WebSocketTest {
 protected:
  void SetUp() override { sandbox::testing::make_certificate(certificate, key); }
  void listen() {
    auto listening = server->listen_tls("127.0.0.1:0", certificate, key);
    ASSERT_TRUE(listening) << listening.error().to_string();
    tls_port = *listening;
  }
  std::unique_ptr<Client> tls_client(ClientOptions options) {
    return std::move(Client::make(*Endpoint::parse("https://127.0.0.1:" + std::to_string(tls_port)), std::move(options))).value();
  }
  std::string certificate = dir / "cert.pem", key = dir / "key.pem";
  std::uint16_t tls_port = 0;
};

TEST_F(Tls, RequestsAndLargeBodiesBothWays) {
  start([](const std::shared_ptr<Exchange>& exchange) {
    EXPECT_TRUE(exchange->peer().is_tls());
    exchange->read_body(8 << 20, [exchange](Result<std::string> body) { exchange->respond(text_response(200, std::move(*body))); });
  });
  listen();
  auto made = tls_client({.ca_file = certificate});
  for (const std::size_t size : {std::size_t{1}, std::size_t{100000}, std::size_t{6} << 20}) {
    const std::string body(size, 't');
    auto answer = made->request({.method = "POST", .target = "/", .body = body}, in(20s));
    ASSERT_TRUE(answer) << answer.error().to_string();
    EXPECT_TRUE(answer->body == body);
  }
  EXPECT_EQ(server->connections(), 1u);
}

TEST_F(Tls, AStopIsToldToTheServerWhichStillAnswers) {
  std::atomic<bool> working = false;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    exchange->on_cancelled([exchange] { exchange->respond(text_response(503, "gave up")); });
    working = true;
  });
  listen();
  auto made = tls_client({.ca_file = certificate});
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] { return made->request({.method = "POST", .target = "/"}, in(60s), stop.get_token()); });
  ASSERT_TRUE(sandbox::testing::eventually([&] { return working.load(); }));
  stop.request_stop();
  const auto answer = waiting.get();
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->body, "gave up");
}

TEST_F(Tls, AnUnknownCertificateIsNotTrusted) {
  start(echo);
  listen();
  auto answer = tls_client({})->request({.target = "/"}, in(5s));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::unauthenticated) << answer.error().to_string();
}

TEST_F(Tls, TheNameMustMatch) {
  start(echo);
  listen();
  EXPECT_TRUE(tls_client({.ca_file = certificate, .server_name = "sandbox.test"})->request({.target = "/"}, in(5s)));
  auto other = tls_client({.ca_file = certificate, .server_name = "other.test"})->request({.target = "/"}, in(5s));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), ErrorCode::unauthenticated) << other.error().to_string();
}

TEST_F(Tls, PlainTextAndSilenceOnTheTlsPortHarmNobody) {
  start(echo, {.header_timeout = 100ms, .idle_timeout = 5s});
  listen();
  Raw plain(dial_tcp(tls_port));
  plain.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  plain.read_to_end();
  EXPECT_EQ(plain.got.find("200"), std::string::npos);
  Raw silent(dial_tcp(tls_port));
  silent.read_to_end();
  EXPECT_TRUE(silent.closed);
  EXPECT_TRUE(tls_client({.ca_file = certificate})->request({.target = "/"}, in(5s)));
}

TEST_F(Tls, OldVersionsAndHttp2AreRefused) {
  start(echo);
  listen();
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_security_level(context.get(), 0);
  const auto handshake = [&](const auto& prepare) {
    const core::UniqueFd fd = dial_tcp(tls_port);
    const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
    SSL_set_fd(ssl.get(), fd.get());
    prepare(ssl.get());
    return SSL_connect(ssl.get()) == 1;
  };
  EXPECT_TRUE(handshake([](SSL*) {}));
  EXPECT_FALSE(handshake([](SSL* ssl) { SSL_set_max_proto_version(ssl, TLS1_1_VERSION); }));
  EXPECT_FALSE(handshake([](SSL* ssl) { SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>("\x02h2"), 3); }));
  EXPECT_TRUE(handshake([](SSL* ssl) { SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>("\x02h2\x08http/1.1"), 12); }));
}

TEST_F(Tls, AWebSocketStreamCarriesBothWaysAtOnce) {
  serve({.subprotocol = "bytes", .read = WebSocketOptions::Read::stream});
  listen();
  heard->received = [this](ByteView bytes) {
    heard->socket->send(MessageKind::binary, bytes);
    if (heard->socket->queued_bytes() > 0) heard->socket->pause_reading();
  };
  heard->drained = [this] { heard->socket->resume_reading(); };
  auto stream = tls_client({.ca_file = certificate})->connect_websocket({.target = "/ws", .subprotocol = "bytes"}, in(5s));
  ASSERT_TRUE(stream) << stream.error().to_string();
  std::string sent(10 << 20, '\0'), got;
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 + i / 1000);
  const auto deadline = in(20s);
  std::thread writer([&] {
    std::string_view rest = sent;
    while (!rest.empty() && core::SteadyClock::now() < deadline) {
      auto put = (*stream)->write_some(as_bytes(rest));
      ASSERT_TRUE(put) << put.error().to_string();
      rest.remove_prefix(*put);
      pollfd wait{(*stream)->fd(), POLLOUT, 0};
      if (*put == 0) ::poll(&wait, 1, 100);
    }
  });
  std::string buffer(100000, '\0');
  while (got.size() < sent.size() && core::SteadyClock::now() < deadline) {
    auto more = (*stream)->read_some(std::as_writable_bytes(std::span(buffer)));
    ASSERT_TRUE(more) << more.error().to_string();
    got.append(buffer.data(), *more);
    pollfd wait{(*stream)->fd(), POLLIN, 0};
    if (*more == 0) ::poll(&wait, 1, 100);
  }
  writer.join();
  EXPECT_TRUE(got == sent) << got.size();
  EXPECT_TRUE((*stream)->say_goodbye(1000, ""));
  EXPECT_EQ(closed().code, 1000);
}

TEST_F(Tls, SaysWhatIsWrongWithTheFiles) {
  start(echo);
  auto missing = server->listen_tls("127.0.0.1:0", dir / "none.pem", key);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found) << missing.error().to_string();
  auto swapped = server->listen_tls("127.0.0.1:0", key, certificate);
  ASSERT_FALSE(swapped);
  EXPECT_EQ(swapped.error().code(), ErrorCode::invalid_argument) << swapped.error().to_string();
}

}  // namespace
}  // namespace sandbox::http::test
