#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

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
  /// Writes what fits; 0: would block. After a partial write the caller goes on with the bytes that follow, as with a socket;
  /// over TLS the last byte counted as not written may be on its way already, so it must be offered again unchanged.
  virtual Result<std::size_t> write_some(ByteView bytes) = 0;
  /// Sends an empty message: where bytes have two ends (ports), nothing more comes this way. False: would block, call
  /// again; write nothing afterwards.
  virtual Result<bool> write_end() = 0;
  /// The server sent one. Once read_some has returned 0 after it came, everything before it was read.
  virtual bool read_end() const noexcept = 0;
  /// read_some has more although fd() may not be readable. Not while another thread reads.
  virtual bool pending() const noexcept = 0;
  /// Pollable: readable when read_some may make progress, writable likewise. What was read ahead does not make it readable:
  /// before polling, read until 0 or ask pending().
  virtual int fd() const noexcept = 0;
  /// Sends a close frame, so that the server knows this end is on purpose (1000: the sandbox may go at once; a stream that
  /// is merely cut may be resumed). Best effort: not in the middle of a frame, nor when the socket takes nothing; returns
  /// whether it went out. Nothing can be written afterwards. Thread-safe.
  virtual bool say_goodbye(std::uint16_t code = 1000, std::string_view reason = {}) noexcept = 0;
  /// Makes blocked and later reads and writes fail. Thread-safe. Sends nothing: see say_goodbye().
  virtual void shut_down() noexcept = 0;
  /// Gives the descriptor back; nobody polls it any more. Sends nothing.
  virtual void close() noexcept = 0;
  /// The peer's close code: 0 while open, 1005 close frame without a code, 1006 connection lost without a close frame.
  virtual std::uint16_t close_code() const noexcept = 0;
  /// Its reason: untrusted text.
  virtual std::string close_reason() const = 0;
  /// The subprotocol the server chose.
  virtual const std::string& subprotocol() const noexcept = 0;
};

}  // namespace sandbox::http
