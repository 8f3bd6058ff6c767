#include <algorithm>

#include <boost/asio/post.hpp>

#include "http/exchange.hpp"
#include "http/websocket_codec.hpp"

namespace sandbox::http {
namespace {

constexpr int kReadsPerEvent = 4;              ///< then others get their turn
constexpr std::size_t kPongLimit = 64 << 10;   ///< queued bytes beyond which only the latest ping is answered
constexpr std::size_t kKeepMessage = 4 << 10;  ///< room for the next message kept while one is being collected

class ServerWebSocket final : public Carrier, public WebSocket {
 public:
  ServerWebSocket(std::shared_ptr<Hub> hub, WebSocketOptions options, std::function<void(unsigned)> finished)
      : Carrier(std::move(hub), {}),
        options_(std::move(options)),
        decoder_(FrameDecoder::Role::server, options_.read == WebSocketOptions::Read::messages ? options_.max_message : 0),
        finished_(std::move(finished)) {
    ++hub_->websockets;
  }
  ~ServerWebSocket() override { --hub_->websockets; }

  /// Bytes that came right behind the request.
  void give(std::string rest) { rest_ = std::move(rest); }

  void start(std::shared_ptr<WebSocketHandler> handler) override;
  void send(MessageKind kind, std::string payload) override;
  void send(MessageKind kind, ByteView first, ByteView second) override;
  std::size_t queued_bytes() const noexcept override { return queued(); }
  void pause_reading() override {
    paused_ = true;
    if (state_ == State::open) stop_reading();
  }
  void resume_reading() override;
  void close(std::uint16_t code, std::string_view reason) override;
  void abort() override { broken(); }
  bool closing() const noexcept override { return state_ != State::open; }

  void on_drain() override { close(close_code::kGoingAway, "the server is going away"); }
  void on_tick(core::TimePoint now) override;
  void on_broken() override;

 private:
  /// open ─ close() ─▶ closing (our frame sent) ─ peer's frame ─▶ leaving (flush, then gone)
  ///      ─ peer's frame ─▶ leaving        ─ broken rules ─▶ dropping (our frame sent, input ignored)
  enum class State : std::uint8_t { open, closing, leaving, dropping };
  void on_open() override;
  void on_readable() override;
  void on_drained() override;
  void process_rest();
  bool process(std::span<std::byte> input);
  void on_data(const FrameDecoder::Event& event);
  void on_ping(ByteView payload);
  void on_close(const FrameDecoder::Event& event);
  void fail(std::uint16_t code, std::string_view reason);
  void send_control(Opcode opcode, ByteView payload);
  void send_close(std::uint16_t code, std::string_view reason);
  void tell_closed(CloseInfo info);
  void leave_when_flushed();

  WebSocketOptions options_;
  FrameDecoder decoder_;
  std::shared_ptr<WebSocketHandler> handler_;
  std::function<void(unsigned)> finished_;
  std::string rest_;     ///< received and not decoded: reading was paused in the middle
  std::string message_;  ///< the message being collected
  bool inside_message_ = false;  ///< stream mode
  std::string pong_;     ///< a ping to answer when the queue is empty
  core::TimePoint heard_ = core::SteadyClock::now();
  core::TimePoint pinged_ = heard_;
  core::TimePoint give_up_ = core::TimePoint::max();
  std::uint16_t close_code_ = 0;
  State state_ = State::open;
  bool paused_ = false, started_ = false, told_ = false, pong_due_ = false, processing_ = false;
};

void ServerWebSocket::on_open() {
  if (started_) want_read();
}

void ServerWebSocket::start(std::shared_ptr<WebSocketHandler> handler) {
  handler_ = std::move(handler);
  started_ = true;
  if (!is_open()) {
    boost::asio::post(hub_->context, [self = std::static_pointer_cast<ServerWebSocket>(shared_from_this())] {
      self->tell_closed({.by_peer = true});
    });
    return;
  }
  if (hub_->draining) return on_drain();  // the request was under way when the server began to leave
  resume_reading();
}

void ServerWebSocket::resume_reading() {
  paused_ = false;
  if (!started_ || !is_open()) return;
  if (rest_.empty()) return want_read();
  if (processing_) return;
  boost::asio::post(hub_->context,
                    [self = std::static_pointer_cast<ServerWebSocket>(shared_from_this())] { self->process_rest(); });
}

void ServerWebSocket::process_rest() {
  if (paused_ || processing_ || !is_open()) return;
  std::string rest = std::exchange(rest_, {});
  if (process(std::as_writable_bytes(std::span(rest)))) want_read();
}

void ServerWebSocket::on_readable() {
  const auto self = shared_from_this();
  heard_ = core::SteadyClock::now();
  const auto buffer = hub_->scratch();
  for (int i = 0; i < kReadsPerEvent; ++i) {
    const auto moved = read(buffer);
    if (moved.state == Transport::State::want_read || moved.state == Transport::State::want_write) break;
    if (moved.state != Transport::State::ok) return on_broken();
    if (state_ == State::dropping || state_ == State::leaving) continue;
    if (!process(buffer.first(moved.bytes))) return;
    // A short read of a stream socket means that it is empty (epoll(7)); TLS hands out one record at a time.
    if (moved.bytes < buffer.size() && !transport_.is_tls()) break;
  }
  want_read();
}

/// Decodes; false: stop reading (paused or gone).
bool ServerWebSocket::process(std::span<std::byte> input) {
  const auto self = shared_from_this();
  processing_ = true;
  while (!input.empty() && is_open() && state_ != State::dropping && state_ != State::leaving) {
    if (paused_ && state_ == State::open) {
      rest_.assign(reinterpret_cast<const char*>(input.data()), input.size());
      break;
    }
    const auto event = decoder_.next(input);
    using Type = FrameDecoder::Event::Type;
    switch (event.type) {
      case Type::none: break;
      case Type::data: on_data(event); break;
      case Type::ping: on_ping(event.payload); break;
      case Type::pong: break;
      case Type::close: on_close(event); break;
      case Type::error:
        if (event.code == close_code::kTooBig) {
          fail(event.code, options_.too_big_reason.empty()
                               ? "read limited at " + std::to_string(options_.max_message + 1) + " bytes"
                               : options_.too_big_reason);
        } else {
          fail(event.code, event.reason);
        }
    }
  }
  processing_ = false;
  if (!is_open()) return false;
  if (state_ != State::open) return true;
  if (!rest_.empty() && !paused_) {  // resumed in the last callback
    resume_reading();
    return false;
  }
  return !paused_;
}

void ServerWebSocket::on_data(const FrameDecoder::Event& event) {
  if (state_ != State::open) return;  // we said goodbye; what still comes is not wanted
  if (options_.read == WebSocketOptions::Read::stream) {
    if (event.kind == MessageKind::text) return fail(close_code::kUnsupportedData, "only binary messages are understood here");
    // A message of nothing at all, as opposed to the empty last piece of one.
    if (!event.payload.empty()) handler_->on_data(event.payload);
    else if (event.message_end && !inside_message_) handler_->on_empty();
    inside_message_ = !event.message_end;
    return;
  }
  if (message_.empty() && event.message_end) {
    message_.assign(as_text(event.payload));
  } else {
    if (message_.capacity() == 0) message_.reserve(std::min(options_.max_message, kKeepMessage));
    message_.append(as_text(event.payload));
  }
  if (!event.message_end) return;
  std::string message = std::exchange(message_, {});
  if (event.kind == MessageKind::text && !valid_utf8(message)) {
    return fail(close_code::kInvalidPayload, "a text message that is not UTF-8");
  }
  handler_->on_message(event.kind, std::move(message));
}

void ServerWebSocket::on_ping(ByteView payload) {
  if (state_ != State::open) return;
  if (queued() <= kPongLimit) return send_control(Opcode::pong, payload);
  // A peer that pings and does not read must not fill our memory; the latest ping stands for all (§5.5.3).
  pong_.assign(as_text(payload));
  pong_due_ = true;
}

void ServerWebSocket::on_close(const FrameDecoder::Event& event) {
  CloseInfo info{.code = event.code, .reason = std::string(event.reason), .clean = true, .by_peer = state_ == State::open};
  if (state_ == State::open) send_close(event.code, {});
  state_ = State::leaving;
  give_up_ = core::SteadyClock::now() + options_.close_wait;
  tell_closed(std::move(info));
  leave_when_flushed();
}

/// The peer broke the rules or a limit: say so, tell the handler, and drop what still comes until it is gone.
void ServerWebSocket::fail(std::uint16_t code, std::string_view reason) {
  if (state_ == State::open) send_close(code, reason);
  state_ = State::dropping;
  give_up_ = core::SteadyClock::now() + options_.close_wait;
  const std::string text(reason);
  if (queued() == 0) finish_sending();
  tell_closed({.code = code, .reason = text});
}

void ServerWebSocket::close(std::uint16_t code, std::string_view reason) {
  if (state_ != State::open || !is_open()) return;
  send_close(code, reason);
  state_ = State::closing;
  close_code_ = code;
  give_up_ = core::SteadyClock::now() + options_.close_wait;
  // Its answer must be seen even if reading was paused; what lies before it is dropped.
  started_ = true;
  if (!rest_.empty() && !processing_) {
    boost::asio::post(hub_->context,
                      [self = std::static_pointer_cast<ServerWebSocket>(shared_from_this())] {
                        self->paused_ = false;
                        self->process_rest();
                      });
  } else {
    want_read();
  }
}

void ServerWebSocket::send(MessageKind kind, std::string payload) {
  if (state_ != State::open || !is_open()) return;
  std::byte header[kMaxFrameHeader];
  const std::size_t size = encode_frame_header(static_cast<Opcode>(kind), payload.size(), std::nullopt, header);
  Carrier::send(as_text({header, size}), std::move(payload));
}

void ServerWebSocket::send(MessageKind kind, ByteView first, ByteView second) {
  if (state_ != State::open || !is_open()) return;
  std::byte header[kMaxFrameHeader];
  const std::size_t size = encode_frame_header(static_cast<Opcode>(kind), first.size() + second.size(), std::nullopt, header);
  const iovec pieces[] = {piece(ByteView(header, size)), piece(first), piece(second)};
  Carrier::send(pieces);
}

void ServerWebSocket::send_control(Opcode opcode, ByteView payload) {
  std::byte frame[kMaxFrameHeader + kMaxControlPayload];
  const std::size_t size = encode_frame_header(opcode, payload.size(), std::nullopt, frame);
  std::copy(payload.begin(), payload.end(), frame + size);
  Carrier::send(as_text({frame, size + payload.size()}));
}

void ServerWebSocket::send_close(std::uint16_t code, std::string_view reason) {
  std::array<std::byte, kMaxControlPayload> payload;
  send_control(Opcode::close, {payload.data(), encode_close(code, reason, payload)});
}

void ServerWebSocket::on_drained() {
  if (state_ == State::leaving) return leave_when_flushed();
  if (state_ == State::dropping) return finish_sending();
  if (state_ != State::open) return;
  if (std::exchange(pong_due_, false)) send_control(Opcode::pong, as_bytes(std::exchange(pong_, {})));
  const auto handler = handler_;
  if (handler) handler->on_drained();
}

void ServerWebSocket::leave_when_flushed() {
  if (queued() == 0) Carrier::close();
}

void ServerWebSocket::on_tick(core::TimePoint now) {
  if (now >= give_up_) return on_broken();
  if (state_ != State::open || options_.ping_every <= core::Duration::zero() || paused_ || !started_) return;
  if (now - heard_ > 2 * options_.ping_every) return on_broken();
  if (now - pinged_ < options_.ping_every) return;
  pinged_ = now;
  if (queued() == 0) send_control(Opcode::ping, {});
}

void ServerWebSocket::on_broken() {
  const auto self = shared_from_this();
  Carrier::close();
  if (state_ == State::closing) {
    tell_closed({.code = close_code_, .reason = "no close frame came back"});
  } else {
    tell_closed({.code = close_code::kAbnormal, .by_peer = true});
  }
}

void ServerWebSocket::tell_closed(CloseInfo info) {
  if (!started_ || std::exchange(told_, true)) return;
  rest_ = {};
  message_ = {};
  const auto handler = std::exchange(handler_, nullptr);
  if (handler) handler->on_closed(info);
  if (finished_) std::exchange(finished_, nullptr)(101);
}

}  // namespace

std::shared_ptr<WebSocket> start_websocket(Connection& connection, const std::string& head, WebSocketOptions options) {
  auto socket = std::make_shared<ServerWebSocket>(connection.shared_hub(), std::move(options),
                                                  std::exchange(connection.on_finished, nullptr));
  connection.send_raw(head);
  socket->give(connection.upgrade_to(*socket, 101));
  return socket;
}

}  // namespace sandbox::http
