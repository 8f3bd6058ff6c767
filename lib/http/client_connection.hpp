#pragma once

#include <atomic>
#include <memory>
#include <stop_token>
#include <string>

#include "http/client.hpp"
#include "http/parser.hpp"
#include "http/transport.hpp"

namespace sandbox::http {

/// What is said of work that ended because it was to stop.
Error stopped();

/// A stop token for poll(2): fd() is readable from the moment it is asked to stop.
class StopEvent {
 public:
  /// Errors: resource_exhausted (descriptors).
  static Result<std::unique_ptr<StopEvent>> make(const std::stop_token& stop);
  int fd() const noexcept { return fd_.get(); }

 private:
  StopEvent(core::UniqueFd fd, const std::stop_token& stop) : fd_(std::move(fd)), callback_(stop, Signal{fd_.get()}) {}
  struct Signal {
    int fd;
    void operator()() const noexcept;
  };
  core::UniqueFd fd_;
  std::stop_callback<Signal> callback_;
};

/// A client's connection with blocking calls and deadlines, used by one thread at a time; cancel() from any.
class ClientConnection {
 public:
  /// `tls` for https; `stop`: as of StopEvent, or null.
  /// Errors: unavailable, deadline_exceeded, permission_denied, unauthenticated, cancelled (`stop`).
  static Result<std::unique_ptr<ClientConnection>> connect(const Endpoint& endpoint, const TlsContext& tls,
                                                           const std::string& server_name, core::TimePoint deadline,
                                                           const StopEvent* stop = nullptr);

  /// From now on `stop`, which outlives that, ends our sending side, and what is waited for then comes within kStopTime or
  /// fails with cancelled. Null: nothing does.
  void stop_with(const StopEvent* stop) noexcept { stop_ = stop; }
  bool is_stopping() const noexcept { return stop_by_ != core::TimePoint::max(); }
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
  const StopEvent* stop_ = nullptr;
  core::TimePoint stop_by_ = core::TimePoint::max();
};

/// Request line and header fields; Host, Content-Length, User-Agent and Connection added. Errors: invalid_argument.
Result<std::string> request_head(const Endpoint& endpoint, const std::string& user_agent, std::string_view method,
                                 std::string_view target, const Headers& headers, std::optional<std::size_t> length);

/// Turns a connection whose handshake is done into a stream. `rest`: bytes received behind the handshake.
std::unique_ptr<WebSocketStream> make_websocket_stream(Transport transport, bool local, std::string subprotocol, std::string rest);

}  // namespace sandbox::http
