#include "client/websocket_bytes.hpp"

namespace sandbox::client {
namespace {

class WebSocketBytes final : public link::ByteStream {
 public:
  explicit WebSocketBytes(std::unique_ptr<http::WebSocketStream> socket) : socket_(std::move(socket)) {}

  Result<std::size_t> read_some(std::span<std::byte> buffer) override { return socket_->read_some(buffer); }
  Result<std::size_t> write_some(ByteView bytes) override { return socket_->write_some(bytes); }
  int fd() const noexcept override { return socket_->fd(); }
  void shut_down() noexcept override {
    socket_->say_goodbye();
    socket_->shut_down();
  }
  void close() noexcept override { socket_->close(); }
  void drop() noexcept override { socket_->shut_down(); }
  bool pending() const noexcept override { return socket_->pending(); }

 private:
  std::unique_ptr<http::WebSocketStream> socket_;
};

}  // namespace

std::unique_ptr<link::ByteStream> websocket_bytes(std::unique_ptr<http::WebSocketStream> socket) {
  return std::make_unique<WebSocketBytes>(std::move(socket));
}

}  // namespace sandbox::client
