#include "http/client.hpp"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "http/client_connection.hpp"
#include "http/websocket_codec.hpp"

namespace sandbox::http {
namespace {

constexpr std::size_t kPiece = 64 << 10;
constexpr std::size_t kRefusalBody = 64 << 10;
constexpr std::size_t kDetailBody = 4 << 10;

/// May be done twice (RFC 9110 §9.2.2).
bool idempotent(std::string_view method) noexcept {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS";
}

class Body final : public ResponseStream {
 public:
  Body(std::unique_ptr<ClientConnection> connection, Parser parser)
      : connection_(std::move(connection)), parser_(std::move(parser)) {
    head_.status = parser_.status();
    head_.headers = parser_.headers();
  }
  const Response& head() const noexcept override { return head_; }
  Result<std::string> read(core::TimePoint deadline) override {
    std::string piece;
    if (ended_) return piece;
    SANDBOX_TRY(const bool more, connection_->read_body(parser_, piece, kPiece, deadline));
    ended_ = !more;
    return piece;
  }
  void cancel() noexcept override { connection_->cancel(); }

 private:
  std::unique_ptr<ClientConnection> connection_;
  Parser parser_;
  Response head_;
  bool ended_ = false;
};

std::string random_key() {
  unsigned char bytes[16], encoded[32];
  RAND_bytes(bytes, sizeof bytes);
  const int size = EVP_EncodeBlock(encoded, bytes, sizeof bytes);
  return {reinterpret_cast<const char*>(encoded), static_cast<std::size_t>(size)};
}

}  // namespace

struct Client::Impl {
  Endpoint endpoint;
  ClientOptions options;
  TlsContext tls;
  std::string server_name;
  std::mutex mutex;
  std::vector<std::unique_ptr<ClientConnection>> idle;

  std::unique_ptr<ClientConnection> take_idle();
  void put_idle(std::unique_ptr<ClientConnection> connection);
  Result<std::unique_ptr<ClientConnection>> connect(core::TimePoint deadline, const StopEvent* stop = nullptr) {
    return ClientConnection::connect(endpoint, tls, server_name, deadline, stop);
  }
  Result<Response> request(const Request& request, core::TimePoint deadline, const std::stop_token& stop);
  Result<Response> exchange(ClientConnection& connection, const Request& request, std::string_view head, core::TimePoint deadline,
                            bool& again, bool& keep);
};

std::unique_ptr<ClientConnection> Client::Impl::take_idle() {
  const auto oldest = core::SteadyClock::now() - options.idle_keep;
  std::lock_guard lock(mutex);
  while (!idle.empty()) {
    auto connection = std::move(idle.back());
    idle.pop_back();
    if (connection->idle_since >= oldest && connection->is_quiet()) return connection;
  }
  return nullptr;
}

void Client::Impl::put_idle(std::unique_ptr<ClientConnection> connection) {
  connection->idle_since = core::SteadyClock::now();
  std::lock_guard lock(mutex);
  if (idle.size() >= options.max_idle) idle.erase(idle.begin());
  if (options.max_idle > 0) idle.push_back(std::move(connection));
}

/// `again`: the failure is one of a connection that had gone stale, and nothing was done with the request.
Result<Response> Client::Impl::exchange(ClientConnection& connection, const Request& request, std::string_view head,
                                        core::TimePoint deadline, bool& again, bool& keep) {
  std::size_t sent = 0;
  bool received = false;
  // A server may answer before it has read a large body and then close: its answer is worth more than the failed send.
  auto sending = connection.send(head, request.body, deadline, sent);
  if (!sending && (sent == 0 || sending.error().code() != ErrorCode::unavailable)) {
    again = sent == 0;
    return std::move(sending).error();
  }
  Parser parser(Parser::Kind::response, kMaxResponseHead);
  if (auto reading = connection.read_head(parser, request.method == "HEAD", deadline, received); !reading) {
    sending.ignore("the reading error says it");
    again = !received && reading.error().code() == ErrorCode::unavailable && idempotent(request.method);
    return std::move(reading).error();
  }
  Response response;
  response.status = parser.status();
  response.headers = parser.headers();
  const auto too_large = [&] {
    return Error(ErrorCode::resource_exhausted, "the answer exceeds " + std::to_string(options.max_response) + " bytes")
        .with_operation("http.client");
  };
  if (const auto length = parser.content_length(); length && request.method != "HEAD") {
    if (*length > options.max_response) return too_large();
    response.body.reserve(static_cast<std::size_t>(*length));
  }
  for (;;) {
    SANDBOX_TRY(const bool more, connection.read_body(parser, response.body, kPiece, deadline));
    if (!more) break;
    if (response.body.size() > options.max_response) return too_large();
  }
  keep = sending && parser.keep_alive() && !parser.until_close() && response.status != 101 && !connection.is_stopping();
  sending.ignore("the server answered all the same");
  return response;
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;
const Endpoint& Client::endpoint() const noexcept { return impl_->endpoint; }

Result<std::unique_ptr<Client>> Client::make(Endpoint endpoint, ClientOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->server_name = options.server_name.empty() ? endpoint.host : options.server_name;
  if (endpoint.scheme == Endpoint::Scheme::https) {
    SANDBOX_TRY(impl->tls, TlsContext::client(options.ca_file));
  }
  impl->endpoint = std::move(endpoint);
  impl->options = std::move(options);
  return std::unique_ptr<Client>(new Client(std::move(impl)));
}

Result<Response> Client::request(const Request& request, core::TimePoint deadline, const std::stop_token& stop) {
  auto answer = impl_->request(request, deadline, stop);
  if (answer || !stop.stop_requested()) return answer;
  answer.ignore("nobody wanted it any more");
  return stopped();
}

Result<Response> Client::Impl::request(const Request& request, core::TimePoint deadline, const std::stop_token& stop) {
  const bool has_body = !request.body.empty() || request.method == "POST" || request.method == "PUT";
  SANDBOX_TRY(const std::string head, request_head(endpoint, options.user_agent, request.method, request.target, request.headers,
                                                   has_body ? std::optional(request.body.size()) : std::nullopt));
  std::unique_ptr<StopEvent> stopping;
  if (stop.stop_possible()) {
    SANDBOX_TRY(stopping, StopEvent::make(stop));
  }
  auto connection = take_idle();
  for (;;) {
    const bool reused = connection != nullptr;
    if (stop.stop_requested()) return stopped();
    if (!reused) {
      SANDBOX_TRY(connection, connect(deadline, stopping.get()));
    }
    connection->stop_with(stopping.get());
    bool again = false, keep = false;
    auto answer = exchange(*connection, request, head, deadline, again, keep);
    connection->stop_with(nullptr);
    if (keep) put_idle(std::move(connection));
    if (answer || !again || !reused) return answer;
    answer.ignore("the kept connection had gone stale; once more on a new one");
    connection = nullptr;
  }
}

Result<std::unique_ptr<ResponseStream>> Client::open_stream(const Request& request, core::TimePoint deadline) {
  const bool has_body = !request.body.empty() || request.method == "POST" || request.method == "PUT";
  SANDBOX_TRY(const std::string head, request_head(impl_->endpoint, impl_->options.user_agent, request.method, request.target,
                                                   request.headers, has_body ? std::optional(request.body.size()) : std::nullopt));
  SANDBOX_TRY(auto connection, impl_->connect(deadline));
  std::size_t sent = 0;
  bool received = false;
  SANDBOX_CHECK(connection->send(head, request.body, deadline, sent));
  Parser parser(Parser::Kind::response, kMaxResponseHead);
  SANDBOX_CHECK(connection->read_head(parser, request.method == "HEAD", deadline, received));
  return std::unique_ptr<ResponseStream>(std::make_unique<Body>(std::move(connection), std::move(parser)));
}

Result<std::unique_ptr<WebSocketStream>> Client::connect_websocket(const WebSocketRequest& request, core::TimePoint deadline) {
  const std::string key = random_key();
  Headers headers{{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Key", key}};
  if (!request.subprotocol.empty()) headers.add("Sec-WebSocket-Protocol", request.subprotocol);
  for (const auto& [name, value] : request.headers) headers.add(name, value);
  SANDBOX_TRY(const std::string head,
              request_head(impl_->endpoint, impl_->options.user_agent, "GET", request.target, headers, std::nullopt));
  SANDBOX_TRY(auto connection, impl_->connect(deadline));
  std::size_t sent = 0;
  bool received = false;
  SANDBOX_CHECK(connection->send(head, {}, deadline, sent));
  Parser parser(Parser::Kind::response, kMaxResponseHead);
  SANDBOX_CHECK(connection->read_head(parser, false, deadline, received));
  const Headers& answer = parser.headers();
  if (parser.status() != 101) {
    Response response{parser.status(), answer, {}};
    while (response.body.size() < kRefusalBody) {
      const auto more = connection->read_body(parser, response.body, kPiece, deadline);
      if (!more) more.error().ignore("the status is what matters");
      if (!more || !*more) break;
    }
    return refused(response, "http.websocket");
  }
  const auto wrong = [](const char* what) {
    return Error(ErrorCode::protocol, std::string("the server's WebSocket handshake: ") + what).with_operation("http.websocket");
  };
  if (!answer.has_token("Upgrade", "websocket") || !answer.has_token("Connection", "upgrade")) return wrong("no upgrade to websocket");
  if (answer.get("Sec-WebSocket-Accept") != accept_key(key)) return wrong("wrong Sec-WebSocket-Accept");
  if (answer.find("Sec-WebSocket-Extensions")) return wrong("an extension nobody offered");
  const std::string subprotocol(answer.get("Sec-WebSocket-Protocol"));
  if (subprotocol != request.subprotocol) return wrong("the server did not choose the offered subprotocol");
  const bool local = impl_->endpoint.scheme == Endpoint::Scheme::unix_socket;
  std::string rest = connection->take_rest();
  return make_websocket_stream(std::move(connection->transport()), local, subprotocol, std::move(rest));
}

Error Client::refused(const Response& response, std::string_view operation) {
  const auto code = [&] {
    switch (response.status) {
      case 400: return ErrorCode::invalid_argument;
      case 401: return ErrorCode::unauthenticated;
      case 403: return ErrorCode::permission_denied;
      case 404: return ErrorCode::not_found;
      case 408: return ErrorCode::deadline_exceeded;
      case 409: return ErrorCode::failed_precondition;
      case 413:
      case 429: return ErrorCode::resource_exhausted;
      case 501: return ErrorCode::unsupported;
      case 502:
      case 503:
      case 504: return ErrorCode::unavailable;
      default: return response.status >= 500 ? ErrorCode::internal : ErrorCode::protocol;
    }
  }();
  std::string body = response.body.substr(0, kDetailBody);
  const bool transient = response.status == 429 || (response.status >= 502 && response.status <= 504);
  return Error(code, "the server answered " + std::to_string(response.status) + " " + std::string(reason_phrase(response.status)))
      .with_operation(std::string(operation))
      .with_retry(transient ? Retry::after_backoff : Retry::never)
      .with_detail("status", std::to_string(response.status))
      .with_detail("body", std::move(body));
}

}  // namespace sandbox::http
