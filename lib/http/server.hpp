#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include <boost/asio/io_context.hpp>

#include "core/clock.hpp"
#include "core/unique_fd.hpp"
#include "http/message.hpp"
#include "http/websocket.hpp"

/// An HTTP/1.1 server whose connections all live on one io_context thread (the aio::Reactor's): callbacks, no locks.
/// It knows messages, not routes.
namespace sandbox::http {

struct Peer {
  enum class Kind : std::uint8_t { unix_socket, tcp, tls } kind = Kind::tcp;
  std::string address;  ///< "192.0.2.1" or "2001:db8::1"; "@" for unix sockets
  std::uint16_t port = 0;
  uid_t uid = static_cast<uid_t>(-1);  ///< unix sockets (SO_PEERCRED)
  gid_t gid = static_cast<gid_t>(-1);
  pid_t pid = 0;
  bool is_unix() const noexcept { return kind == Kind::unix_socket; }
  bool is_tls() const noexcept { return kind == Kind::tls; }
};

/// A response whose body is written over time (SSE). Reactor thread only.
class BodyWriter {
 public:
  virtual ~BodyWriter() = default;
  /// Sends now what the socket takes and queues the rest, without a limit: look at queued_bytes().
  virtual void write(std::string_view bytes) = 0;
  virtual std::size_t queued_bytes() const noexcept = 0;
  /// Ends the body; the connection may serve its next request.
  virtual void finish() = 0;
  /// Breaks the connection, so that the client sees an incomplete body.
  virtual void abort() = 0;
  /// Called whenever the queue has become empty after a write() that had to queue.
  virtual void on_drained(std::function<void()> handler) = 0;
  /// Called once when the client is gone, or the server stops, before finish().
  virtual void on_closed(std::function<void()> handler) = 0;
  virtual bool closed() const noexcept = 0;
};

struct ProxyOptions {
  std::string target;              ///< path and query sent upstream, percent-encoded
  std::vector<std::string> strip;  ///< header names not forwarded; a trailing '*' strips by prefix
  Headers add;                     ///< set on the forwarded request, replacing those the client sent
  Response bad_gateway = text_response(502, "bad gateway\n");  ///< the answer when upstream fails before its head
  core::Duration head_timeout = std::chrono::seconds(60);      ///< from the request's end to the upstream's head
  core::Duration idle_limit = std::chrono::minutes(5);         ///< without a byte either way, upgraded ones too
};

/// One request and its answer. Exactly one of respond, stream, upgrade and proxy ends it; one that is dropped unanswered
/// is answered with 500. Reactor thread only, except respond(), request(), peer() and the destructor.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const RequestHead& request() const noexcept = 0;
  virtual const Peer& peer() const noexcept = 0;
  /// Where to post from another thread.
  virtual boost::asio::io_context& context() const noexcept = 0;

  /// Reads the whole body, answering Expect: 100-continue. At most once. `done` may run before this returns.
  /// Errors: resource_exhausted (more than `limit` bytes; answer 413), protocol (broken coding; answer 400),
  /// deadline_exceeded (too slow; answer 408), unavailable (client gone).
  virtual void read_body(std::size_t limit, std::function<void(Result<std::string>)> done) = 0;

  /// Any thread. Content-Length, Date and Connection are added; HEAD loses the body. A body that nobody read is
  /// skipped if short, else the connection closes after the answer.
  virtual void respond(Response response) = 0;
  /// Sends `head` (its body as the first bytes) and leaves the body open: chunked, or until close for HTTP/1.0.
  virtual std::shared_ptr<BodyWriter> stream(Response head) = 0;
  /// Answers 101. A request that is no valid upgrade is answered here (426, or 400 for a wrong version or key) and `done`
  /// gets failed_precondition; unavailable when the client is gone.
  virtual void upgrade(WebSocketOptions options, std::function<void(Result<std::shared_ptr<WebSocket>>)> done) = 0;
  /// Forwards the request over a connected stream socket and the answer back, bodies streamed with backpressure. An upgrade
  /// that upstream accepts (101) becomes a raw byte relay. Hop-by-hop headers are not forwarded, Host is.
  virtual void proxy(core::UniqueFd upstream, ProxyOptions options) = 0;

  /// Called once, on the reactor thread, when the exchange is over (answer written, WebSocket closed, client gone), with
  /// the status that was sent (0: none).
  virtual void on_finished(std::function<void(unsigned status)> handler) = 0;
  /// Called once if the client goes away before the answer began. Notices only while no body is left unread.
  virtual void on_cancelled(std::function<void()> handler) = 0;
};

/// Whether the request asks for a WebSocket at all (Upgrade: websocket and Connection: Upgrade).
bool wants_websocket(const RequestHead& request) noexcept;
/// The subprotocols it offers, in order.
std::vector<std::string> offered_subprotocols(const RequestHead& request);

struct ServerOptions {
  core::Duration header_timeout = std::chrono::seconds(10);  ///< first byte of a head to its last; TLS handshake too
  core::Duration idle_timeout = std::chrono::seconds(60);    ///< kept-alive connection without a request
  core::Duration body_timeout = std::chrono::seconds(30);    ///< without a byte of a body being read
  core::Duration write_timeout = std::chrono::seconds(60);   ///< without the client taking a byte of an answer
  std::size_t max_head = 16 << 10;                           ///< bytes of request line and headers; beyond: 431
  std::size_t max_connections = 10'000;                      ///< beyond: 503 and close
};

using Handler = std::function<void(std::shared_ptr<Exchange>)>;

class Server {
 public:
  /// `handler` runs on the reactor thread for each request. `context` must outlive the server and be run by one thread.
  Server(boost::asio::io_context& context, ServerOptions options, Handler handler);
  /// stop()s.
  ~Server();
  Server(const Server&) = delete;

  /// Listens at `path`: parent directory created 0755, socket mode 0660, a stale socket nobody answers on replaced,
  /// removed at stop. Thread-safe, as are the two below. Errors: already_exists (somebody serves there),
  /// invalid_argument (path too long, or something else is there), permission_denied.
  Result<void> listen_unix(const std::string& path, mode_t mode = 0660);
  /// `address` is "host:port", "[::1]:port", ":port" (every address) or with port 0. Returns the port.
  /// Errors: invalid_argument, already_exists (in use), permission_denied.
  Result<std::uint16_t> listen_tcp(const std::string& address);
  /// TLS 1.2 or newer, HTTP/1.1. PEM files. Errors: also not_found and invalid_argument for the files.
  Result<std::uint16_t> listen_tls(const std::string& address, const std::string& certificate, const std::string& key);
  /// Connections accepted from now on get this pair from the listener that has TLS; those there are keep theirs. Thread-safe; on an
  /// error nothing changes. Errors: those of listen_tls() for the files.
  Result<void> renew_tls(const std::string& certificate, const std::string& key);

  /// Stops accepting, closes idle connections and WebSockets (1001), lets running exchanges end until `deadline`, then
  /// closes the rest; `done` runs on the reactor thread. Thread-safe, once.
  void drain(core::TimePoint deadline, std::function<void()> done);
  /// Closes everything now; waits for it unless on the reactor thread or the context has stopped. Idempotent.
  void stop();

  std::size_t connections() const noexcept;  ///< any thread
  std::size_t websockets() const noexcept;   ///< any thread

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace sandbox::http
