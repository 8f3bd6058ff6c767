#include "http/exchange.hpp"

#include <atomic>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include "http/websocket_codec.hpp"

namespace sandbox::http {
namespace {

class Writer final : public BodyWriter {
 public:
  Writer(std::shared_ptr<Connection> connection, std::uint64_t serial) : connection_(std::move(connection)), serial_(serial) {}
  ~Writer() override {
    // Dropped unfinished: the client must not take what it got for the whole.
    if (connection_->hub().context.get_executor().running_in_this_thread()) abort();
    else boost::asio::post(connection_->hub().context, [connection = connection_, serial = serial_] {
      if (connection->is_current(serial)) connection->abort();
    });
  }
  void write(std::string_view bytes) override {
    if (!closed()) connection_->write_body(bytes);
  }
  std::size_t queued_bytes() const noexcept override { return closed() ? 0 : connection_->queued_bytes(); }
  void finish() override {
    if (!closed()) connection_->end_body();
  }
  void abort() override {
    if (!closed()) connection_->abort();
  }
  void on_drained(std::function<void()> handler) override {
    if (!closed()) connection_->on_body_drained = std::move(handler);
  }
  void on_closed(std::function<void()> handler) override {
    if (!closed()) {
      connection_->on_answer_broken = std::move(handler);
    } else {
      boost::asio::post(connection_->hub().context, std::move(handler));
    }
  }
  bool closed() const noexcept override { return !connection_->is_current(serial_); }

 private:
  const std::shared_ptr<Connection> connection_;
  const std::uint64_t serial_;
};

class ExchangeImpl final : public Exchange {
 public:
  ExchangeImpl(std::shared_ptr<Connection> connection, RequestHead head, std::uint64_t serial)
      : connection_(std::move(connection)), peer_(connection_->shared_peer()), head_(std::move(head)), serial_(serial) {}

  ~ExchangeImpl() override {
    if (!answered_.exchange(true)) {
      run([serial = serial_](Connection& connection) {
        if (connection.is_current(serial)) connection.respond(text_response(500, "the request was dropped\n"));
      });
    } else if (!on_thread()) {
      auto& home = context();  // before the connection is moved away
      boost::asio::post(home, [connection = std::move(connection_)] {});
    }
  }

  const RequestHead& request() const noexcept override { return head_; }
  const Peer& peer() const noexcept override { return *peer_; }
  boost::asio::io_context& context() const noexcept override { return connection_->hub().context; }

  void read_body(std::size_t limit, std::function<void(Result<std::string>)> done) override;
  void respond(Response response) override {
    if (answered_.exchange(true)) return;
    run([serial = serial_, response = std::move(response)](Connection& connection) mutable {
      if (connection.is_current(serial)) connection.respond(std::move(response));
    });
  }
  std::shared_ptr<BodyWriter> stream(Response head) override {
    const bool first = !answered_.exchange(true);
    auto writer = std::make_shared<Writer>(connection_, first ? serial_ : 0);
    if (first && current()) {
      connection_->begin_answer(head.status, head.headers, std::nullopt);
      connection_->write_body(head.body);
    }
    return writer;
  }
  void upgrade(WebSocketOptions options, std::function<void(Result<std::shared_ptr<WebSocket>>)> done) override;
  void proxy(core::UniqueFd upstream, ProxyOptions options) override {
    if (answered_.exchange(true) || !current()) return;
    start_proxy(connection_, head_, serial_, std::move(upstream), std::move(options));
  }
  void on_finished(std::function<void(unsigned)> handler) override {
    if (current()) connection_->on_finished = std::move(handler);
  }
  void on_cancelled(std::function<void()> handler) override {
    if (current()) connection_->on_cancelled = std::move(handler);
  }

 private:
  bool on_thread() const noexcept { return context().get_executor().running_in_this_thread(); }
  bool current() const noexcept { return connection_->is_current(serial_); }
  template <class F>
  void run(F&& action) {
    boost::asio::dispatch(context(), [connection = connection_, action = std::forward<F>(action)]() mutable {
      action(*connection);
    });
  }

  std::shared_ptr<Connection> connection_;
  const std::shared_ptr<const Peer> peer_;
  const RequestHead head_;
  const std::uint64_t serial_;
  std::atomic<bool> answered_{false};
};

void ExchangeImpl::read_body(std::size_t limit, std::function<void(Result<std::string>)> done) {
  if (!current()) {
    done(Error(ErrorCode::unavailable, "the client went away"));
    return;
  }
  const Error too_large(ErrorCode::resource_exhausted, "the request body exceeds " + std::to_string(limit) + " bytes");
  const std::string* length = head_.headers.find("Content-Length");
  // Its form was checked; refusing before a byte is read also spares a client that waits for 100 Continue.
  if (length && std::stoull(*length) > limit) {
    done(too_large);
    return;
  }
  struct Reading {
    std::string body;
    std::function<void(Result<std::string>)> done;
  };
  auto reading = std::make_shared<Reading>();
  reading->done = std::move(done);
  too_large.ignore("not yet");
  connection_->read_body([reading, limit](const BodyPiece& piece) {
    if (!reading->done) return;
    const auto finish = [&](Result<std::string> result) { std::exchange(reading->done, nullptr)(std::move(result)); };
    if (piece.error) return finish(*piece.error);
    if (piece.end) return finish(std::move(reading->body));
    if (reading->body.size() + piece.bytes.size() > limit) {
      return finish(Error(ErrorCode::resource_exhausted, "the request body exceeds " + std::to_string(limit) + " bytes"));
    }
    reading->body.append(piece.bytes);
  });
}

bool is_websocket_key(std::string_view key) noexcept {
  constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return key.size() == 24 && key.ends_with("==") && key.substr(0, 22).find_first_not_of(kBase64) == std::string_view::npos;
}

/// The answer to a request that cannot become a WebSocket, or nothing.
std::optional<Response> refusal(const RequestHead& head) {
  if (!wants_websocket(head) || head.minor == 0) {
    Response response = text_response(426, "this address speaks WebSocket only\n");
    response.headers.add("Connection", "Upgrade");
    response.headers.add("Upgrade", "websocket");
    return response;
  }
  if (head.method != "GET") return text_response(400, "a WebSocket begins with GET\n");
  if (head.headers.get("Sec-WebSocket-Version") != "13") {
    Response response = text_response(400, "unsupported WebSocket version\n");
    response.headers.add("Sec-WebSocket-Version", "13");
    return response;
  }
  if (head.headers.count("Sec-WebSocket-Key") != 1 || !is_websocket_key(head.headers.get("Sec-WebSocket-Key"))) {
    return text_response(400, "missing or malformed Sec-WebSocket-Key\n");
  }
  return std::nullopt;
}

void ExchangeImpl::upgrade(WebSocketOptions options, std::function<void(Result<std::shared_ptr<WebSocket>>)> done) {
  if (!current()) {
    answered_ = true;
    done(Error(ErrorCode::unavailable, "the client went away"));
    return;
  }
  auto refused = refusal(head_);
  if (!refused && connection_->expects_body()) refused = text_response(400, "a WebSocket request has no body\n");
  if (refused) {
    respond(std::move(*refused));
    done(Error(ErrorCode::failed_precondition, "the request is no WebSocket upgrade"));
    return;
  }
  if (answered_.exchange(true)) {
    done(Error(ErrorCode::failed_precondition, "the request was answered already"));
    return;
  }
  std::string head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
                     accept_key(head_.headers.get("Sec-WebSocket-Key")) + "\r\n";
  if (!options.subprotocol.empty() && valid_field("Sec-WebSocket-Protocol", options.subprotocol)) {
    head += "Sec-WebSocket-Protocol: " + options.subprotocol + "\r\n";
  }
  head += "\r\n";
  done(start_websocket(*connection_, head, std::move(options)));
}

}  // namespace

std::shared_ptr<Exchange> make_exchange(std::shared_ptr<Connection> connection, RequestHead head, std::uint64_t serial) {
  return std::make_shared<ExchangeImpl>(std::move(connection), std::move(head), serial);
}

bool wants_websocket(const RequestHead& request) noexcept {
  return request.headers.has_token("Connection", "upgrade") && request.headers.has_token("Upgrade", "websocket");
}

std::vector<std::string> offered_subprotocols(const RequestHead& request) {
  std::vector<std::string> offered;
  for (const auto& [name, value] : request.headers) {
    if (!same_token(name, "Sec-WebSocket-Protocol")) continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      const auto comma = rest.find(',');
      std::string_view one = rest.substr(0, comma);
      while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
      while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
      if (!one.empty()) offered.emplace_back(one);
      rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    }
  }
  return offered;
}

}  // namespace sandbox::http
