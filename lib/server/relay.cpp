#include "server/relay.hpp"

#include <utility>

#include <boost/asio/post.hpp>

#include "core/text.hpp"
#include "protocol/wire.hpp"

namespace sandbox::server {
namespace {

using session::Channel;

/// With no more than this waiting for the client's socket, the agent may go on sending.
constexpr std::size_t kSocketBacklog = 256 << 10;
constexpr std::string_view kSessionClosed = "session closed";
constexpr std::string_view kUnreachable = "agent unreachable";

ByteView rest_of(const std::string& text, std::size_t from) {
  return {reinterpret_cast<const std::byte*>(text.data()) + from, text.size() - from};
}

/// Sets a flag for a scope.
class Within {
 public:
  explicit Within(bool& flag) : flag_(flag) { flag_ = true; }
  ~Within() { flag_ = false; }
  Within(const Within&) = delete;

 private:
  bool& flag_;
};

}  // namespace

SessionRelay::SessionRelay(std::shared_ptr<link::Link> link, std::shared_ptr<http::WebSocket> socket, OnEnd on_end)
    : link_(std::move(link)), context_(link_->reactor().context()), socket_(std::move(socket)), on_end_(std::move(on_end)) {}

SessionRelay::~SessionRelay() = default;

void SessionRelay::start() {
  self_ = shared_from_this();
  attention_.emplace(link_);
  std::string params = protocol::encode(request());
  link_->with([&](session::Session& session) {
    Within handler(in_handler_);  // a session that is over says so before open() returns
    session_ = &session;
    stream_ = session.open(protocol::Method::session, std::move(params), &stream_handler_);
    opened_ = stream_ != 0;
  });
  socket_->start(shared_from_this());
}

// ---- from the agent, under the link's lock ------------------------------------------------------------------------------

void SessionRelay::from_agent(Channel channel, ByteView data) {
  Within handler(in_handler_);
  if (!socket_ || socket_->closing() || channel != Channel::out) return session_->consumed(stream_, channel, data.size());
  if (auto delivered = deliver(data); !delivered) {
    session_->consumed(stream_, channel, data.size());
    session_->cancel(stream_);
    return socket_->close(http::close_code::kInternal, delivered.error().message());
  }
  if (owed_ == 0 && socket_->queued_bytes() <= kSocketBacklog) session_->consumed(stream_, channel, data.size());
  else owed_ += data.size();
}

void SessionRelay::agent_takes_more() {
  Within handler(in_handler_);
  if (!flush_kept() || !socket_) return;
  boost::asio::post(context_, [self = shared_from_this()] {
    if (self->kept_.empty()) self->read_again();
  });
}

void SessionRelay::read_again() {
  if (std::exchange(paused_, false) && socket_) socket_->resume_reading();
}

void SessionRelay::agent_ended(const protocol::End& end) {
  if (end.code == 0) return stream_over(http::close_code::kNormal, std::string(kSessionClosed));
  const Error why = session::error_of(end);
  why.ignore("told to the client as the reason of the close");
  // A cancelled stream is one that we left; the client knows by then.
  if (why.code() == ErrorCode::cancelled) return stream_over(http::close_code::kNormal, std::string(kSessionClosed));
  stream_over(http::close_code::kInternal, core::escape_control(why.message()));
}

/// On any thread: a box is closed on a worker's.
void SessionRelay::agent_lost(const Error& error) {
  error.ignore("told to the client as the reason of the close");
  if (error.code() == ErrorCode::cancelled) return stream_over(http::close_code::kNormal, std::string(kSessionClosed));
  if (opened_ && !tells_loss()) return stream_over(http::close_code::kNormal, std::string(kSessionClosed));
  stream_over(http::close_code::kInternal, std::string(kUnreachable));
}

void SessionRelay::stream_over(std::uint16_t code, std::string reason) {
  // Posted in any case: the lock is held, and attention_ must end without it.
  boost::asio::post(context_, [self = self_, code, reason = std::move(reason)] {
    self->stream_ = 0;
    self->attention_.reset();
    self->kept_.clear();
    if (self->socket_) {
      self->read_again();  // to see the client's close frame
      self->socket_->close(code, reason);
    }
    self->self_.reset();
  });
}

// ---- from the client --------------------------------------------------------------------------------------------------------

void SessionRelay::forward(ByteView first, ByteView second) {
  if (stream_ == 0) return;
  bool waits = false;
  link_->with([&](session::Session& session) {
    Within handler(in_handler_);
    if (kept_.empty()) {
      first = first.subspan(session.send(stream_, Channel::in, first));
      if (first.empty() && !second.empty()) second = second.subspan(session.send(stream_, Channel::in, second));
    }
    // Kept before the link flushes: that alone can make room, and agent_takes_more() is called only once for it.
    kept_.append(reinterpret_cast<const char*>(first.data()), first.size());
    kept_.append(reinterpret_cast<const char*>(second.data()), second.size());
    waits = !kept_.empty();
  });
  if (!waits) return;
  if (!paused_ && socket_) {
    paused_ = true;
    socket_->pause_reading();
  }
}

/// Under the link's lock. Returns whether nothing is kept any more.
bool SessionRelay::flush_kept() {
  if (stream_ == 0) return false;
  if (kept_from_ < kept_.size()) {
    kept_from_ += session_->send(stream_, Channel::in, rest_of(kept_, kept_from_), finish_);
    if (kept_from_ < kept_.size()) return false;
  } else if (finish_) {
    session_->send(stream_, Channel::in, {}, true);
  }
  kept_.clear();
  kept_.shrink_to_fit();
  kept_from_ = 0;
  return true;
}

void SessionRelay::on_drained() {
  if (owed_ == 0 || stream_ == 0) return;
  if (in_handler_) return boost::asio::post(context_, [self = shared_from_this()] { self->on_drained(); });
  link_->with([&](session::Session& session) {
    Within handler(in_handler_);
    session.consumed(stream_, Channel::out, std::exchange(owed_, 0));
  });
}

void SessionRelay::on_closed(const http::CloseInfo& info) {
  if (!in_handler_) return socket_over(info);
  boost::asio::post(context_, [self = shared_from_this(), info] { self->socket_over(info); });
}

void SessionRelay::socket_over(const http::CloseInfo& info) {
  if (!socket_) return;
  socket_.reset();
  const SessionEnd how = meaning_of(info);
  leave_stream(how == SessionEnd::closed);
  if (auto done = std::exchange(on_end_, nullptr)) done(how);
}

/// Ends our side of the stream: at its end when the client is done, at once when it may come back.
void SessionRelay::leave_stream(bool finished) {
  if (stream_ == 0) return;
  link_->with([&](session::Session& session) {
    Within handler(in_handler_);
    if (owed_ > 0) session.consumed(stream_, Channel::out, std::exchange(owed_, 0));
    if (!finished) return session.cancel(stream_);
    finish_ = true;
    flush_kept();
  });
}

void SessionRelay::close(std::uint16_t code, std::string_view reason) {
  if (stream_ != 0) {
    link_->with([&](session::Session& session) {
      Within handler(in_handler_);
      session.cancel(stream_);
    });
  }
  if (!socket_) return;
  read_again();
  socket_->close(code, reason);
}

// ---- v2 -----------------------------------------------------------------------------------------------------------------------

protocol::SessionRequest V2Relay::request() const {
  protocol::SessionRequest request;
  request.dialect = "v2";
  request.keep_ms = static_cast<std::uint32_t>(keep_.count());
  return request;
}

Result<void> V2Relay::deliver(ByteView bytes) {
  socket()->send(http::MessageKind::binary, bytes);
  return {};
}

SessionEnd V2Relay::meaning_of(const http::CloseInfo& info) const {
  return info.code == http::close_code::kNormal ? SessionEnd::closed : SessionEnd::cut;
}

// ---- v1 -----------------------------------------------------------------------------------------------------------------------

protocol::SessionRequest V1Relay::request() const {
  protocol::SessionRequest request;
  request.dialect = "v1";
  request.resumed = resumed_;
  request.sandbox = sandbox_;
  return request;
}

Result<void> V1Relay::deliver(ByteView bytes) {
  return frames_.feed(bytes, [this](V1Kind kind, std::string&& payload) {
    if (socket() == nullptr) return;
    socket()->send(kind == V1Kind::text ? http::MessageKind::text : http::MessageKind::binary, std::move(payload));
  });
}

void V1Relay::on_message(http::MessageKind kind, std::string&& payload) {
  if (kind == http::MessageKind::text) {
    if (auto save = find_template_save(payload)) return on_save_(std::move(save->id), std::move(save->label));
  }
  const auto header = v1_header(kind == http::MessageKind::text ? V1Kind::text : V1Kind::binary, payload.size());
  forward(header, rest_of(payload, 0));
}

void V1Relay::send_text(std::string message) {
  if (socket() != nullptr) socket()->send_text(std::move(message));
}

}  // namespace sandbox::server
