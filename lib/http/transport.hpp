#pragma once

#include <sys/uio.h>

#include <memory>
#include <span>
#include <string>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

struct ssl_ctx_st;
struct ssl_st;

namespace sandbox::http {

/// What one read of a head or of a relayed body asks for, in bytes.
inline constexpr std::size_t kReadSize = 64 << 10;

/// TLS settings shared by connections: certificates and keys on one side, trust on the other. Copies share.
class TlsContext {
 public:
  TlsContext() noexcept = default;  ///< none: plain sockets
  /// TLS 1.2 or newer, HTTP/1.1 by ALPN. Errors: not_found, permission_denied, invalid_argument.
  static Result<TlsContext> server(const std::string& certificate, const std::string& key);
  /// Verifies the server against `ca_file`, or the system's store if empty. Errors: not_found, invalid_argument.
  static Result<TlsContext> client(const std::string& ca_file);
  explicit operator bool() const noexcept { return context_ != nullptr; }
  ssl_ctx_st* get() const noexcept { return context_.get(); }

 private:
  std::shared_ptr<ssl_ctx_st> context_;
};

/// A connected non-blocking stream socket, plain or under TLS. Not thread-safe, but that a plain one may be read and written
/// at the same time.
class Transport {
 public:
  Transport() noexcept = default;
  explicit Transport(core::UniqueFd socket) noexcept : socket_(std::move(socket)) {}
  Transport(Transport&&) noexcept = default;
  Transport& operator=(Transport&&) noexcept = default;

  /// What came of an attempt. want_read and want_write: nothing was moved, try again when poll says so (TLS may want to
  /// read in order to write). closed: orderly end. failed: see Transport::failure().
  enum class State : unsigned char { ok, want_read, want_write, closed, failed };
  struct Moved {
    State state = State::ok;
    std::size_t bytes = 0;
  };

  /// Server's side of the handshake; the handshake itself is driven by handshake().
  Result<void> start_tls_server(const TlsContext& context);
  /// `name` is sent as SNI unless it is an address, and verified.
  Result<void> start_tls_client(const TlsContext& context, const std::string& name);
  /// ok: done; a plain socket always is.
  State handshake();

  Moved read(std::span<std::byte> buffer);
  /// The same into several pieces, for a plain socket.
  Moved read_pieces(std::span<const iovec> pieces);
  /// Writes the pieces in order. Under TLS an attempt that could not move everything must be repeated with the same bytes.
  Moved write(std::span<const iovec> pieces);
  /// Bytes were received and decrypted already: read() yields them although the descriptor is not readable.
  bool has_buffered() const noexcept;
  /// Says goodbye (TLS close_notify) and ends the sending side.
  void finish_sending() noexcept;
  /// Both directions; blocked calls return. Thread-safe.
  void shut_down() noexcept;

  int fd() const noexcept { return socket_.get(); }
  bool is_tls() const noexcept { return ssl_ != nullptr; }
  bool is_open() const noexcept { return static_cast<bool>(socket_); }
  void close() noexcept;
  /// The plain socket, without closing it.
  core::UniqueFd take() noexcept;
  /// Why the last attempt failed: unavailable; unauthenticated for a certificate that is not trusted.
  Error failure() const;

 private:
  struct FreeSsl {
    void operator()(ssl_st* ssl) const noexcept;
  };
  Result<void> attach(const TlsContext& context);
  State tls_state(int result) noexcept;
  void note_errno() noexcept;

  core::UniqueFd socket_;
  std::unique_ptr<ssl_st, FreeSsl> ssl_;
  mutable int errno_ = 0;  ///< through atomic_ref: reader and writer may both fail
  unsigned long tls_error_ = 0;
};

}  // namespace sandbox::http
