#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"
#include "http/websocket.hpp"

namespace sandbox::server {

/// A WebSocket joined to a connected TCP socket: binary payload is the bytes, boundaries mean nothing. Reactor thread
/// only; lives until both are closed. Each direction holds at most one read of 64 KiB; an empty message
/// is the end of its direction; when both have ended it closes (1000), after an error of the socket with 1011.
class SocketRelay final : public http::WebSocketHandler, public std::enable_shared_from_this<SocketRelay> {
 public:
  /// Errors: internal, when `upstream` is no socket.
  static Result<std::shared_ptr<SocketRelay>> make(boost::asio::io_context& context, core::UniqueFd upstream,
                                                   std::shared_ptr<http::WebSocket> socket);
  /// `on_end`: called once, when the WebSocket is over.
  void start(std::function<void()> on_end);
  void close(std::uint16_t code, std::string_view reason);

 private:
  using Socket = boost::asio::generic::stream_protocol::socket;
  SocketRelay(boost::asio::io_context& context, std::shared_ptr<http::WebSocket> socket)
      : upstream_(context), socket_(std::move(socket)) {}

  void on_data(ByteView bytes) override;
  void on_empty() override;
  void on_drained() override;
  void on_closed(const http::CloseInfo& info) override;
  void read();
  void write();
  void client_done();
  void shut();

  Socket upstream_;
  std::shared_ptr<http::WebSocket> socket_;
  std::function<void()> on_end_;
  std::array<std::byte, 64 << 10> inbound_;
  std::string outbound_;
  bool reading_ = false;
  bool writing_ = false;
  bool upstream_ended_ = false;  ///< it sends no more
  bool client_ended_ = false;    ///< likewise
  bool closed_ = false;          ///< the WebSocket
};

}  // namespace sandbox::server
