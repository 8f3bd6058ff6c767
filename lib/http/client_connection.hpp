#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "http/client.hpp"
#include "http/parser.hpp"
#include "http/transport.hpp"

namespace sandbox::http {

/// A client's connection with blocking calls and deadlines, used by one thread at a time; cancel() from any.
class ClientConnection {
 public:
  /// `tls` for https. Errors: unavailable, deadline_exceeded, permission_denied, unauthenticated.
  static Result<std::unique_ptr<ClientConnection>> connect(const Endpoint& endpoint, const TlsContext& tls,
                                                           const std::string& server_name, core::TimePoint deadline);

  /// Sends both pieces whole. `sent` counts what went out, on failure too.
  Result<void> send(std::string_view head, std::string_view body, core::TimePoint deadline, std::size_t& sent);
  /// Waits for bytes; 0: the other side ended the connection.
  Result<std::size_t> receive(std::span<std::byte> buffer, core::TimePoint deadline);
  /// Reads until `parser` has the head of a final answer (interim ones are dropped); `received` tells whether any byte came.
  Result<void> read_head(Parser& parser, bool head_request, core::TimePoint deadline, bool& received);
  /// Next piece of the body, appended to `out` (at least a byte, at most `most` at a time); false at its end.
  Result<bool> read_body(Parser& parser, std::string& out, std::size_t most, core::TimePoint deadline);

  /// Nothing unexpected has come and the other side has not closed.
  bool is_quiet();
  /// Makes waiting and later calls fail with cancelled.
  void cancel() noexcept;
  Transport& transport() noexcept { return transport_; }
  /// What was received behind the head.
  std::string take_rest() { return std::exchange(inbox_, {}); }

  core::TimePoint idle_since{};

 private:
  explicit ClientConnection(Transport transport) : transport_(std::move(transport)) {}
  Result<void> wait(short events, core::TimePoint deadline);
  Result<void> fill(core::TimePoint deadline, bool& ended);

  Transport transport_;
  std::string inbox_;
  std::atomic<bool> cancelled_{false};
};

/// Request line and header fields; Host, Content-Length, User-Agent and Connection added. Errors: invalid_argument.
Result<std::string> request_head(const Endpoint& endpoint, const std::string& user_agent, std::string_view method,
                                 std::string_view target, const Headers& headers, std::optional<std::size_t> length);

/// Turns a connection whose handshake is done into a stream. `rest`: bytes received behind the handshake.
std::unique_ptr<WebSocketStream> make_websocket_stream(Transport transport, bool local, std::string subprotocol, std::string rest);

}  // namespace sandbox::http
