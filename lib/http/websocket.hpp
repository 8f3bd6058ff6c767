#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <sandbox/bytes.hpp>

#include "core/clock.hpp"

/// The server's end of a WebSocket (RFC 6455).
namespace sandbox::http {

enum class MessageKind : std::uint8_t { text = 1, binary = 2 };

/// Close codes we use or see (RFC 6455 §7.4.1).
namespace close_code {
inline constexpr std::uint16_t kNormal = 1000;
inline constexpr std::uint16_t kGoingAway = 1001;
inline constexpr std::uint16_t kProtocolError = 1002;
inline constexpr std::uint16_t kUnsupportedData = 1003;
inline constexpr std::uint16_t kNoStatus = 1005;  ///< never on the wire: a close frame without a code
inline constexpr std::uint16_t kAbnormal = 1006;  ///< never on the wire: the connection broke without a close frame
inline constexpr std::uint16_t kInvalidPayload = 1007;
inline constexpr std::uint16_t kPolicy = 1008;
inline constexpr std::uint16_t kTooBig = 1009;
inline constexpr std::uint16_t kInternal = 1011;
}  // namespace close_code

struct CloseInfo {
  std::uint16_t code = close_code::kAbnormal;  ///< the peer's; ours when it never answered
  std::string reason;                          ///< untrusted text when it came from the peer
  bool clean = false;                          ///< both close frames were seen
  bool by_peer = false;                        ///< the peer closed (or vanished) first
};

struct WebSocketOptions {
  std::string subprotocol;  ///< chosen by the caller among those offered; empty: none
  /// messages: each message is collected whole. stream: binary payload is handed out as it comes, boundaries are
  /// dropped and nothing is ever assembled; a text message ends the connection with 1003.
  enum class Read : std::uint8_t { messages, stream } read = Read::messages;
  std::size_t max_message = 2 << 20;   ///< bytes, messages mode; a larger one is answered with close 1009
  std::string too_big_reason;          ///< empty: "read limited at <max_message + 1> bytes"
  core::Duration ping_every{};         ///< zero: never. A peer silent for two intervals is dropped (1006)
  core::Duration close_wait = std::chrono::seconds(5);  ///< how long close() waits for the peer's close frame
};

/// Called on the reactor thread. May call back into the WebSocket, close() too.
class WebSocketHandler {
 public:
  virtual ~WebSocketHandler() = default;
  virtual void on_message(MessageKind kind, std::string&& payload) { (void)kind, (void)payload; }
  /// `bytes` live for the call.
  virtual void on_data(ByteView bytes) { (void)bytes; }
  /// Stream mode: an empty message came. Where bytes have two ends (ports), it is the end of the peer's direction.
  virtual void on_empty() {}
  /// Everything queued has been given to the socket; called after a send() that had to queue.
  virtual void on_drained() {}
  /// Exactly once, last.
  virtual void on_closed(const CloseInfo& info) { (void)info; }
};

/// Reactor thread only (post to Exchange::context() from elsewhere). Alive until on_closed, whoever holds it.
/// An idle one holds no read or write buffer.
class WebSocket {
 public:
  virtual ~WebSocket() = default;

  /// Begins reading; once. The handler is held until after on_closed.
  virtual void start(std::shared_ptr<WebSocketHandler> handler) = 0;

  /// One unfragmented, uncompressed frame. What the socket does not take at once is queued (and copied, unless moved
  /// in), without a limit: look at queued_bytes() and wait for on_drained. Dropped after close.
  virtual void send(MessageKind kind, std::string payload) = 0;
  /// The same from borrowed memory: two pieces, one frame, no copy when the socket takes it at once.
  virtual void send(MessageKind kind, ByteView first, ByteView second = {}) = 0;
  void send_text(std::string payload) { send(MessageKind::text, std::move(payload)); }
  /// Bytes, with frame headers, that the socket has not taken yet.
  virtual std::size_t queued_bytes() const noexcept = 0;

  /// While paused nothing is read, pings neither; the kernel's buffer fills and the peer stops. Nests not.
  virtual void pause_reading() = 0;
  virtual void resume_reading() = 0;

  /// Sends a close frame after what is queued, then waits WebSocketOptions::close_wait for the peer's. Idempotent.
  /// `reason` is cut to 123 bytes.
  virtual void close(std::uint16_t code, std::string_view reason = {}) = 0;
  /// Drops the connection now; on_closed follows with 1006.
  virtual void abort() = 0;
  virtual bool closing() const noexcept = 0;
};

}  // namespace sandbox::http
