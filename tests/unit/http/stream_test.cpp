#include <poll.h>

#include <atomic>
#include <thread>

#include "ws_harness.hpp"
#include "support/failure.hpp"

namespace sandbox::http::test {
namespace {

/// Blocking helpers over the non-blocking stream.
std::string read_exactly(WebSocketStream& stream, std::size_t size, std::size_t piece = 100000) {
  std::string out, buffer(piece, '\0');
  const auto deadline = in(20s);
  while (out.size() < size && core::SteadyClock::now() < deadline) {
    auto got = stream.read_some(std::as_writable_bytes(std::span(buffer.data(), std::min(piece, size - out.size()))));
    if (!got) {
      got.ignore("the caller compares");
      break;
    }
    out.append(buffer.data(), *got);
    pollfd wait{stream.fd(), POLLIN, 0};
    if (*got == 0) ::poll(&wait, 1, 100);
  }
  return out;
}

bool write_all(WebSocketStream& stream, std::string_view bytes) {
  const auto deadline = in(20s);
  while (!bytes.empty() && core::SteadyClock::now() < deadline) {
    auto put = stream.write_some(as_bytes(bytes));
    if (!put) {
      ADD_FAILURE() << put.error().to_string();
      return false;
    }
    bytes.remove_prefix(*put);
    pollfd wait{stream.fd(), POLLOUT, 0};
    if (*put == 0) ::poll(&wait, 1, 100);
  }
  return bytes.empty();
}

std::string pattern(std::size_t size) {
  std::string out(size, '\0');
  std::uint32_t state = 1;
  for (char& c : out) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return out;
}

class Streams : public WebSocketTest, public ::testing::WithParamInterface<bool> {
 protected:
  /// Echoes bytes, with backpressure.
  void serve_echo() {
    serve({.subprotocol = "bytes", .read = WebSocketOptions::Read::stream});
    heard->received = [this](ByteView bytes) {
      heard->socket->send(MessageKind::binary, bytes);
      if (heard->socket->queued_bytes() > 0) heard->socket->pause_reading();
    };
    heard->drained = [this] { heard->socket->resume_reading(); };
  }
  std::unique_ptr<WebSocketStream> connect() {
    auto made = GetParam() ? tcp_client() : client();
    auto stream = made->connect_websocket({.target = "/ws", .subprotocol = "bytes"}, in(5s));
    EXPECT_TRUE(stream) << stream.error().to_string();
    return stream ? std::move(*stream) : nullptr;
  }
};

TEST_P(Streams, BytesComeBackWhateverTheSizes) {
  serve_echo();
  auto stream = connect();
  ASSERT_TRUE(stream);
  EXPECT_EQ(stream->subprotocol(), "bytes");
  for (const std::size_t size : {1, 125, 126, 127, 65535, 65536, 300000}) {
    const std::string sent = pattern(size);
    ASSERT_TRUE(write_all(*stream, sent));
    ASSERT_EQ(read_exactly(*stream, size, size % 2 ? 7 : 100000), sent) << size;
  }
}

TEST_P(Streams, FullDuplexUnderBackpressure) {
  serve_echo();
  auto stream = connect();
  ASSERT_TRUE(stream);
  const std::string sent = pattern(24 << 20);
  std::string got;
  std::thread reader([&] { got = read_exactly(*stream, sent.size(), 200000); });
  EXPECT_TRUE(write_all(*stream, sent));
  reader.join();
  EXPECT_TRUE(got == sent) << got.size();
}

TEST_P(Streams, TheServersCloseEndsTheStreamWithItsCode) {
  serve_echo();
  auto stream = connect();
  ASSERT_TRUE(stream);
  on_reactor([&] {
    heard->socket->send(MessageKind::binary, as_bytes("tail"));
    heard->socket->close(1011, "agent unreachable");
  });
  EXPECT_EQ(read_exactly(*stream, 100), "tail");
  EXPECT_EQ(stream->close_code(), 1011);
  EXPECT_EQ(stream->close_reason(), "agent unreachable");
  EXPECT_TRUE(closed().clean);
  EXPECT_EQ(sandbox::testing::failure(stream->write_some(as_bytes("x"))), ErrorCode::unavailable);
}

TEST_P(Streams, GoodbyeIsANormalClose) {
  serve_echo();
  auto stream = connect();
  ASSERT_TRUE(stream);
  EXPECT_TRUE(stream->say_goodbye(1000, "enough"));
  stream->close();
  const CloseInfo info = closed();
  EXPECT_EQ(info.code, 1000);
  EXPECT_EQ(info.reason, "enough");
  EXPECT_TRUE(info.by_peer);
}

TEST_P(Streams, ACutIsNoGoodbye) {
  serve_echo();
  auto stream = connect();
  ASSERT_TRUE(stream);
  stream->shut_down();
  EXPECT_EQ(closed().code, 1006);
  std::byte byte;
  EXPECT_EQ(sandbox::testing::failure(stream->read_some({&byte, 1})), ErrorCode::unavailable);
}

TEST_P(Streams, PingsAreAnsweredWhileReading) {
  serve({.subprotocol = "bytes", .read = WebSocketOptions::Read::stream, .ping_every = 50ms}, {.write_timeout = 80ms});
  auto stream = connect();
  ASSERT_TRUE(stream);
  const auto until = in(400ms);
  std::byte buffer[10];
  while (core::SteadyClock::now() < until) {
    pollfd wait{stream->fd(), POLLIN, 0};
    ::poll(&wait, 1, 20);
    auto got = stream->read_some(buffer);
    ASSERT_TRUE(got) << got.error().to_string();
  }
  EXPECT_EQ(server->websockets(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Over, Streams, ::testing::Values(false, true),
                         [](const auto& one) { return one.param ? "Tcp" : "Unix"; });

class Refusals : public ServerTest {};

TEST_F(Refusals, AnAnswerThatIsNo101BecomesAnError) {
  start([](const std::shared_ptr<Exchange>& exchange) { exchange->respond(json_response(404, "{\"error\":\"sandbox not found\"}\n")); });
  auto stream = client()->connect_websocket({.target = "/ws"}, in(5s));
  ASSERT_FALSE(stream);
  EXPECT_EQ(stream.error().code(), ErrorCode::not_found);
  EXPECT_EQ(stream.error().details()[1].second, "{\"error\":\"sandbox not found\"}\n");
}

TEST_F(Refusals, AServerThatIgnoresTheSubprotocolIsNotTalkedTo) {
  start([](const std::shared_ptr<Exchange>& exchange) {
    exchange->upgrade({}, [](Result<std::shared_ptr<WebSocket>> upgraded) { upgraded.ignore("the client leaves"); });
  });
  auto stream = client()->connect_websocket({.target = "/ws", .subprotocol = "bytes"}, in(5s));
  ASSERT_FALSE(stream);
  EXPECT_EQ(stream.error().code(), ErrorCode::protocol);
}

}  // namespace
}  // namespace sandbox::http::test
