#include "http/transport.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>

namespace sandbox::http {
namespace {

/// A socket BIO that sends with MSG_NOSIGNAL: OpenSSL's own uses write(2), whose SIGPIPE would end the embedding program.
int bio_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const int fd = static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  const auto put = ::send(fd, data, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (put < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(put);
}

int bio_read(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const int fd = static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  const auto got = ::recv(fd, data, static_cast<std::size_t>(size), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sandbox socket");
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_ctrl(made, bio_control);
    return made;
  }();
  return method;
}

std::string tls_text(unsigned long code) {
  char text[256];
  ERR_error_string_n(code, text, sizeof text);
  return text;
}

Error tls_error(ErrorCode code, const std::string& what) {
  const unsigned long reason = ERR_peek_last_error();
  ERR_clear_error();
  return Error(code, reason ? what + ": " + tls_text(reason) : what).with_operation("http.tls");
}

Error file_error(const std::string& file, const char* what) {
  ERR_clear_error();
  const core::UniqueFd readable(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!readable) return Error::from_errno(errno, "http.tls", file);
  return Error(ErrorCode::invalid_argument, file + ": " + what).with_operation("http.tls");
}

/// HTTP/1.1 and nothing else, when the client asks by ALPN; a client that cannot speak it is told so.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned in_size, void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kOurs, sizeof kOurs - 1, in, in_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

std::shared_ptr<SSL_CTX> new_context(const SSL_METHOD* method) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(method), SSL_CTX_free);
  if (!context) return nullptr;
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  return context;
}

}  // namespace

Result<TlsContext> TlsContext::server(const std::string& certificate, const std::string& key) {
  TlsContext made;
  made.context_ = new_context(TLS_server_method());
  SSL_CTX* context = made.context_.get();
  if (!context) return tls_error(ErrorCode::internal, "no TLS context");
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
    return file_error(certificate, "not a PEM certificate chain");
  }
  ERR_clear_error();
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    // Compared with the certificate while it is read.
    const unsigned long why = ERR_peek_last_error();
    const bool another = ERR_GET_LIB(why) == ERR_LIB_X509 &&
                         (ERR_GET_REASON(why) == X509_R_KEY_VALUES_MISMATCH || ERR_GET_REASON(why) == X509_R_KEY_TYPE_MISMATCH);
    return file_error(key, another ? "the private key does not belong to the certificate" : "not a PEM private key");
  }
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  static constexpr unsigned char kSession[] = "sandbox";
  SSL_CTX_set_session_id_context(context, kSession, sizeof kSession - 1);
  return made;
}

Result<TlsContext> TlsContext::client(const std::string& ca_file) {
  TlsContext made;
  made.context_ = new_context(TLS_client_method());
  SSL_CTX* context = made.context_.get();
  if (!context) return tls_error(ErrorCode::internal, "no TLS context");
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  if (ca_file.empty()) {
    if (SSL_CTX_set_default_verify_paths(context) != 1) return tls_error(ErrorCode::internal, "no system certificates");
  } else if (SSL_CTX_load_verify_locations(context, ca_file.c_str(), nullptr) != 1) {
    return file_error(ca_file, "no PEM certificates in it");
  }
  return made;
}

void Transport::note_errno() noexcept { std::atomic_ref(errno_).store(errno); }

void Transport::FreeSsl::operator()(ssl_st* ssl) const noexcept { SSL_free(ssl); }

Result<void> Transport::attach(const TlsContext& context) {
  ssl_.reset(SSL_new(context.get()));
  BIO* bio = ssl_ ? BIO_new(socket_method()) : nullptr;
  if (!bio) {
    ssl_.reset();
    return tls_error(ErrorCode::resource_exhausted, "no TLS session");
  }
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket_.get())));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  return {};
}

Result<void> Transport::start_tls_server(const TlsContext& context) {
  SANDBOX_CHECK(attach(context));
  SSL_set_accept_state(ssl_.get());
  return {};
}

Result<void> Transport::start_tls_client(const TlsContext& context, const std::string& name) {
  SANDBOX_CHECK(attach(context));
  SSL_set_connect_state(ssl_.get());
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  SSL_set_alpn_protos(ssl_.get(), kOurs, sizeof kOurs - 1);
  unsigned char address[sizeof(in6_addr)];
  const bool is_address =
      ::inet_pton(AF_INET, name.c_str(), address) == 1 || ::inet_pton(AF_INET6, name.c_str(), address) == 1;
  const int named = is_address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), name.c_str())
                               : SSL_set1_host(ssl_.get(), name.c_str());
  if (named != 1 || (!is_address && SSL_set_tlsext_host_name(ssl_.get(), name.c_str()) != 1)) {
    return tls_error(ErrorCode::invalid_argument, "cannot verify the server name " + name);
  }
  return {};
}

Transport::State Transport::tls_state(int result) noexcept {
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_NONE: return State::ok;
    case SSL_ERROR_WANT_READ: return State::want_read;
    case SSL_ERROR_WANT_WRITE: return State::want_write;
    case SSL_ERROR_ZERO_RETURN: return State::closed;
    default:
      note_errno();
      tls_error_ = ERR_peek_error();
      ERR_clear_error();
      return State::failed;
  }
}

Transport::State Transport::handshake() {
  if (!ssl_) return State::ok;
  ERR_clear_error();
  return tls_state(SSL_do_handshake(ssl_.get()));
}

Transport::Moved Transport::read(std::span<std::byte> buffer) {
  if (ssl_) {
    ERR_clear_error();
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &got);
    if (result == 1) return {State::ok, got};
    return {tls_state(result), 0};
  }
  const iovec one = {buffer.data(), buffer.size()};
  return read_pieces({&one, 1});
}

Transport::Moved Transport::read_pieces(std::span<const iovec> pieces) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  for (;;) {
    const auto got = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got > 0) return {State::ok, static_cast<std::size_t>(got)};
    if (got == 0) return {State::closed, 0};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {State::want_read, 0};
    if (errno == EINTR) continue;
    note_errno();
    return {State::failed, 0};
  }
}

Transport::Moved Transport::write(std::span<const iovec> pieces) {
  if (ssl_) {
    Moved moved;
    for (const iovec& piece : pieces) {
      std::size_t at = 0;
      while (at < piece.iov_len) {
        ERR_clear_error();
        std::size_t put = 0;
        const int result = SSL_write_ex(ssl_.get(), static_cast<const char*>(piece.iov_base) + at, piece.iov_len - at, &put);
        if (result != 1) {
          moved.state = tls_state(result);
          // What was moved is success; the next attempt meets the obstacle again.
          if (moved.bytes > 0 && moved.state != State::failed) moved.state = State::ok;
          return moved;
        }
        at += put;
        moved.bytes += put;
      }
    }
    return moved;
  }
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = std::min<std::size_t>(pieces.size(), IOV_MAX);
  for (;;) {
    const auto put = ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put >= 0) return {State::ok, static_cast<std::size_t>(put)};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {State::want_write, 0};
    if (errno == EINTR) continue;
    note_errno();
    return {State::failed, 0};
  }
}

// Not SSL_has_pending: that is also true of half a record, and waiting for its rest must be waiting for the socket.
bool Transport::has_buffered() const noexcept { return ssl_ && SSL_pending(ssl_.get()) > 0; }

void Transport::finish_sending() noexcept {
  if (!socket_) return;
  if (ssl_) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());  // one try; the peer may also see the end of the TCP stream
    ERR_clear_error();
  }
  ::shutdown(socket_.get(), SHUT_WR);
}

void Transport::shut_down() noexcept { ::shutdown(socket_.get(), SHUT_RDWR); }

void Transport::close() noexcept {
  ssl_.reset();
  socket_.reset();
}

core::UniqueFd Transport::take() noexcept {
  ssl_.reset();
  return std::move(socket_);
}

Error Transport::failure() const {
  if (ssl_) {
    if (const long verdict = SSL_get_verify_result(ssl_.get()); verdict != X509_V_OK && !SSL_is_init_finished(ssl_.get())) {
      return Error(ErrorCode::unauthenticated, std::string("the server's certificate is not trusted: ") +
                                                   X509_verify_cert_error_string(verdict))
          .with_operation("http.tls");
    }
    if (tls_error_ != 0) return Error(ErrorCode::unavailable, "TLS: " + tls_text(tls_error_)).with_operation("http.tls");
  }
  if (const int cause = std::atomic_ref(errno_).load(); cause != 0) {
    return Error(ErrorCode::unavailable, "the connection broke").with_operation("http.socket").with_errno(cause);
  }
  return Error(ErrorCode::unavailable, "the other end closed the connection").with_operation("http.socket");
}

}  // namespace sandbox::http
