#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

/// HTTP/1.1 over a unix socket in as few lines as will do: a load generator must cost less than what it loads.
namespace bench {

struct RawResponse {
  int status = 0;
  std::string body;
};

/// One kept-alive connection; one thread. Speaks to a daemon we started, so it is strict and simple: Content-Length only.
class RawConnection {
 public:
  /// Errors: from connect(2).
  static sandbox::Result<RawConnection> open(const std::string& socket_path);
  /// Sends and waits for the whole answer, at most `limit`. Errors: unavailable (closed), deadline_exceeded, protocol.
  sandbox::Result<RawResponse> request(std::string_view method, std::string_view target, std::string_view body = {},
                                       std::chrono::milliseconds limit = std::chrono::seconds(30));
  /// Makes this connection a WebSocket. Errors: as request(), also failed_precondition (an answer other than 101).
  sandbox::Result<void> upgrade(std::string_view target, std::string_view subprotocol);
  /// The next bytes as they come, "" at the end of the stream.
  sandbox::Result<std::string> read_some(std::chrono::milliseconds limit);
  sandbox::Result<void> write(std::string_view bytes);

  int fd() const noexcept { return socket_.get(); }
  sandbox::core::UniqueFd release() { return std::move(socket_); }

 private:
  explicit RawConnection(sandbox::core::UniqueFd socket) : socket_(std::move(socket)) {}
  sandbox::Result<std::string> read_head(std::chrono::milliseconds limit);
  sandbox::core::UniqueFd socket_;
  std::string input_;
};

/// A client's WebSocket message in one frame; opcode 1 text, 2 binary, 8 close. Masked with zeros, as RFC 6455 does not
/// forbid: these bytes are ours.
std::string websocket_message(int opcode, std::string_view payload);

/// The value of "key":… as text in compact JSON (a string without its quotes), or "". For answers of our own daemon.
std::string json_value(std::string_view json, std::string_view key);

}  // namespace bench
