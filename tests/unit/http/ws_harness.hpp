#pragma once

#include <mutex>
#include <vector>

#include "harness.hpp"
#include "http/websocket_codec.hpp"
#include "support/eventually.hpp"

namespace sandbox::http::test {

/// One masked client frame, by hand.
std::string frame(unsigned opcode, std::string_view payload, bool fin = true, bool masked = true, unsigned reserved = 0);
/// The handshake of a raw client; leaves `raw.got` with what came behind the head.
void shake(Raw& raw, const std::string& target = "/ws");

/// Frames of the server decoded by hand: opcode and payload.
struct ServerFrame {
  unsigned opcode = 0;
  std::string payload;
};
/// Takes whole frames from the front of `raw.got`, waiting for the first.
std::optional<ServerFrame> next_frame(Raw& raw, core::Duration time = 5s);
/// Code and reason of a close frame, "1000 text".
std::string close_text(const std::optional<ServerFrame>& frame);

/// Collects what a server-side WebSocket hears, readable from the test's thread.
struct Heard : WebSocketHandler {
  void on_message(MessageKind kind, std::string&& payload) override {
    std::lock_guard lock(mutex);
    messages.push_back((kind == MessageKind::text ? "t:" : "b:") + payload);
    if (message) message(messages.back());
  }
  void on_data(ByteView bytes) override {
    {
      std::lock_guard lock(mutex);
      data.append(as_text(bytes));
    }
    if (received) received(bytes);
  }
  void on_drained() override {
    if (drained) drained();
  }
  void on_closed(const CloseInfo& info) override { closed.set_value(info); }

  std::mutex mutex;
  std::vector<std::string> messages;
  std::string data;
  std::function<void(const std::string&)> message;
  std::function<void(ByteView)> received;
  std::function<void()> drained;
  std::promise<CloseInfo> closed;
  std::shared_ptr<WebSocket> socket;
};

class WebSocketTest : public ServerTest {
 protected:
  /// Every request upgrades with those options; `heard` hears the latest.
  void serve(WebSocketOptions options = {}, ServerOptions server_options = {}) {
    start(
        [this, options](const std::shared_ptr<Exchange>& exchange) {
          exchange->upgrade(options, [this](Result<std::shared_ptr<WebSocket>> upgraded) {
            if (!upgraded) return upgraded.ignore("answered already");
            heard->socket = *upgraded;
            if (on_upgrade) on_upgrade(**upgraded);
            (*upgraded)->start(heard);
          });
        },
        server_options);
  }
  CloseInfo closed() {
    auto future = heard->closed.get_future();
    if (future.wait_for(5s) != std::future_status::ready) {
      ADD_FAILURE() << "never closed";
      return {};
    }
    return future.get();
  }
  /// Waits until so many bytes of data came.
  void heard_so_much(std::size_t bytes) {
    EXPECT_TRUE(sandbox::testing::eventually([&] {
      std::lock_guard lock(heard->mutex);
      return heard->data.size() >= bytes;
    }));
  }
  ~WebSocketTest() override {
    if (server) server->stop();  // its callbacks write to what follows
    on_reactor([&] { heard->socket.reset(); });
  }

  std::shared_ptr<Heard> heard = std::make_shared<Heard>();
  std::function<void(WebSocket&)> on_upgrade;
};

}  // namespace sandbox::http::test
