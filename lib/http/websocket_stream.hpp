#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

/// The client's end of a WebSocket as a byte stream: binary payload only, message boundaries mean nothing.
namespace sandbox::http {

/// Non-blocking, with the members of link::ByteStream. One thread reads and another may write at the same time over a unix
/// socket or plain TCP and over TLS alike (TLS locks inside). Pings are answered from read_some.
class WebSocketStream {
 public:
  virtual ~WebSocketStream() = default;
  /// Reads what is there; 0: would block. Errors: unavailable at the end of the stream (see close_code), protocol.
  virtual Result<std::size_t> read_some(std::span<std::byte> buffer) = 0;
  /// Writes what fits; 0: would block. Bytes of a frame that was begun come first: after a partial write the caller goes
  /// on with the bytes that follow, as with a socket (it may offer more or fewer of them than before).
  virtual Result<std::size_t> write_some(ByteView bytes) = 0;
  /// Pollable: readable when read_some may make progress, writable likewise. Over TLS, bytes already decrypted do not make
  /// it readable: call read_some until it returns 0 before polling.
  virtual int fd() const noexcept = 0;
  /// Makes blocked and later reads and writes fail. Thread-safe. Sends a close frame (1000) first if it fits.
  virtual void shut_down() noexcept = 0;
  /// Gives the descriptor back. Sends a close frame (1000) first if none was sent and it fits.
  virtual void close() noexcept = 0;
  /// The peer's close code: 0 while open, 1005 close frame without a code, 1006 connection lost without a close frame.
  virtual std::uint16_t close_code() const noexcept = 0;
  /// Its reason: untrusted text.
  virtual std::string close_reason() const = 0;
  /// The subprotocol the server chose.
  virtual const std::string& subprotocol() const noexcept = 0;
};

}  // namespace sandbox::http
