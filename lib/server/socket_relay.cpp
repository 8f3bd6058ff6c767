#include "server/socket_relay.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

namespace sandbox::server {

namespace asio = boost::asio;

Result<std::shared_ptr<SocketRelay>> SocketRelay::make(asio::io_context& context, core::UniqueFd upstream,
                                                       std::shared_ptr<http::WebSocket> socket) {
  std::shared_ptr<SocketRelay> relay(new SocketRelay(context, std::move(socket)));
  boost::system::error_code error;
  relay->upstream_.assign(asio::generic::stream_protocol(AF_INET, 0), upstream.get(), error);
  if (error) return Error(ErrorCode::internal, error.message()).with_operation("server.connect");
  static_cast<void>(upstream.release());
  relay->upstream_.non_blocking(true, error);
  if (error) return Error(ErrorCode::internal, error.message()).with_operation("server.connect");
  return relay;
}

void SocketRelay::start(std::function<void()> on_end) {
  on_end_ = std::move(on_end);
  socket_->start(shared_from_this());
  read();
}

void SocketRelay::close(std::uint16_t code, std::string_view reason) {
  if (!closed_) socket_->close(code, reason);
}

void SocketRelay::read() {
  if (reading_ || closed_ || upstream_ended_) return;
  reading_ = true;
  upstream_.async_read_some(asio::buffer(inbound_), [this, self = shared_from_this()](boost::system::error_code error, std::size_t count) {
    reading_ = false;
    if (closed_) return;
    if (error == asio::error::eof) {
      upstream_ended_ = true;
      if (client_ended_) return socket_->close(http::close_code::kNormal, {});
      return socket_->send(http::MessageKind::binary, ByteView());  // this direction is over, the other may go on
    }
    if (error) return socket_->close(http::close_code::kInternal, "the connection broke");
    socket_->send(http::MessageKind::binary, ByteView(inbound_.data(), count));
    if (socket_->queued_bytes() == 0) read();  // else on_drained
  });
}

void SocketRelay::on_empty() {
  client_ended_ = true;
  if (!writing_) client_done();  // else behind what it sent last
}

/// The client sends no more, and upstream has everything.
void SocketRelay::client_done() {
  boost::system::error_code ignored;
  upstream_.shutdown(Socket::shutdown_send, ignored);
  if (upstream_ended_ && !closed_) socket_->close(http::close_code::kNormal, {});
}

void SocketRelay::on_drained() { read(); }

void SocketRelay::on_data(ByteView bytes) {
  if (!writing_ && outbound_.empty()) {
    // Most of the time the socket has room: no copy then.
    const ssize_t sent = ::send(upstream_.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) bytes = bytes.subspan(static_cast<std::size_t>(sent));
    else if (sent < 0 && errno != EAGAIN && errno != EINTR) return socket_->close(http::close_code::kInternal, "the connection broke");
    if (bytes.empty()) return;
  }
  outbound_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!writing_) {
    socket_->pause_reading();
    write();
  }
}

void SocketRelay::write() {
  writing_ = true;
  auto batch = std::make_shared<std::string>(std::exchange(outbound_, {}));
  asio::async_write(upstream_, asio::buffer(*batch), [this, self = shared_from_this(), batch](boost::system::error_code error, std::size_t) {
    writing_ = false;
    if (!error && !outbound_.empty()) return write();
    if (closed_) return shut();
    if (error) return socket_->close(http::close_code::kInternal, "the connection broke");
    socket_->resume_reading();
    if (client_ended_) client_done();
  });
}

void SocketRelay::on_closed(const http::CloseInfo&) {
  closed_ = true;
  if (!writing_) shut();  // else behind what the client sent last
  if (auto done = std::exchange(on_end_, nullptr)) done();
}

void SocketRelay::shut() {
  boost::system::error_code ignored;
  upstream_.close(ignored);
}

}  // namespace sandbox::server
