#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include <sandbox/result.hpp>

#include "core/clock.hpp"
#include "http/endpoint.hpp"
#include "http/message.hpp"
#include "http/websocket_stream.hpp"

/// An HTTP/1.1 client without a thread: calls block, with deadlines, on the caller's.
namespace sandbox::http {

/// How long a request that is to stop waits for what the server says to that.
inline constexpr std::chrono::seconds kStopTime{2};

struct ClientOptions {
  std::string ca_file;      ///< PEM; empty: the system's
  std::string server_name;  ///< to verify instead of the endpoint's host
  std::string user_agent = "sandbox";
  std::size_t max_response = 64 << 20;  ///< bytes of a body; more: resource_exhausted
  std::size_t max_idle = 8;             ///< connections kept for the next request
  core::Duration idle_keep = std::chrono::seconds(50);  ///< below the server's idle timeout
};

/// A response whose body is read as it comes. One thread reads; cancel() from any.
class ResponseStream {
 public:
  virtual ~ResponseStream() = default;
  virtual const Response& head() const noexcept = 0;  ///< its body is empty
  /// The next bytes, at most 64 KiB; empty at the end. TimePoint::max(): no deadline.
  /// Errors: deadline_exceeded (may be called again), cancelled, unavailable, protocol.
  virtual Result<std::string> read(core::TimePoint deadline) = 0;
  /// Makes the current and later reads fail with cancelled.
  virtual void cancel() noexcept = 0;
};

struct WebSocketRequest {
  std::string target = "/";
  Headers headers;
  std::string subprotocol;  ///< offered; the server must choose it, or the call fails
};

/// Thread-safe. Errors of every call: unavailable (cannot connect, or the connection broke), deadline_exceeded, protocol,
/// permission_denied (of the socket file), unauthenticated (TLS: certificate not trusted).
class Client {
 public:
  /// Connects to nothing yet. Errors: invalid_argument, not_found (CA file).
  static Result<std::unique_ptr<Client>> make(Endpoint endpoint, ClientOptions options = {});
  ~Client();

  const Endpoint& endpoint() const noexcept;
  /// Any status is a response, not an error. A kept-alive connection that the server had closed meanwhile is replaced and
  /// the request sent again, once, if no byte of an answer came and the method may be repeated or nothing was sent.
  /// When `stop` is asked for, the sending side ends, which tells a server that works on the request to give up, and its
  /// answer is waited for kStopTime at most: whatever it says is the result.
  /// Errors: also resource_exhausted (max_response), cancelled (`stop`, and no answer within that time).
  Result<Response> request(const Request& request, core::TimePoint deadline, const std::stop_token& stop = {});
  /// For server-sent events; the connection is the stream's own. `deadline` is for the head.
  Result<std::unique_ptr<ResponseStream>> open_stream(const Request& request, core::TimePoint deadline);
  /// Errors: also those of refused(): an answer other than 101 becomes an Error.
  Result<std::unique_ptr<WebSocketStream>> connect_websocket(const WebSocketRequest& request, core::TimePoint deadline);

  /// The Error for an answer that is not what was asked for: 400 invalid_argument, 401 unauthenticated, 403
  /// permission_denied, 404 not_found, 409 failed_precondition, 413 and 429 resource_exhausted, 501 unsupported, 502-504
  /// unavailable, else protocol or internal. Details: "status" and "body" (at most 4 KiB, untrusted).
  static Error refused(const Response& response, std::string_view operation);

  struct Impl;

 private:
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::http
