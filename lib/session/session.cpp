#include "session/session.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "session/session_impl.hpp"

namespace sandbox::session {
namespace {

/// Least Options::max_unacknowledged: the receiver acknowledges after a quarter of it, so it cannot stall.
constexpr std::uint64_t kMinUnacknowledged = 256 << 10;

}  // namespace

Session::Impl::Impl(Role role, Options options, SessionHandler& handler)
    : role_(role), options_(std::move(options)), handler_(handler),
      pool_(std::min(options_.max_data, protocol::kMaxMaxFrame)) {
  options_.max_data = std::clamp<std::uint32_t>(options_.max_data, 1, protocol::kMaxMaxFrame);
  options_.max_frame = std::clamp(options_.max_frame, protocol::kMinMaxFrame, protocol::kMaxMaxFrame);
  options_.window = std::min(options_.window, kMaxOffset);
  options_.max_unacknowledged = std::max(options_.max_unacknowledged, kMinUnacknowledged);
  max_data_ = options_.max_data;
  last_stream_ = options_.first_stream - 1;
  say_hello(false);
  options_.hello.facts.reset();  // said once
}

Session::Impl::~Impl() {
  for (auto& [id, stream] : streams_) {
    for (Tx& tx : stream->tx) drop_queue(tx);
  }
  if (current_ && !options_.resumable) pool_.put(current_);
  for (Chunk* chunk : kept_) pool_.put(chunk);
  if (error_) error_->ignore("kept to answer later calls");
}

void Session::Impl::fail(const Error& error, bool tell_peer) {
  error.ignore("every handler is told; a second failure changes nothing");
  if (error_) return;
  error_ = error;
  // Stop at a frame boundary when one can be reached: a goaway in the middle of another frame would not be seen.
  if (tell_peer && !current_ && again_position_ == 0 && connected_) {
    if (control_position_ == 0 && !control_begun_) control_.clear();
    protocol::End end = end_of(error);
    if (end.message.size() > 1024) end.message.resize(1024);
    const bool resumable = std::exchange(options_.resumable, false);
    control({.type = FrameType::goaway}, as_bytes(protocol::encode(end)));
    options_.resumable = resumable;
  }
  auto streams = std::exchange(streams_, {});
  latest_ = data_stream_ = nullptr;
  closed_.clear();
  std::vector<Stream*> order;
  for (auto& [id, stream] : streams) {
    for (Tx& tx : stream->tx) drop_queue(tx);
    order.push_back(stream.get());
  }
  std::sort(order.begin(), order.end(), [](const Stream* a, const Stream* b) { return a->id < b->id; });
  for (Stream* stream : order) {
    if (stream->handler) stream->handler->on_lost(error);
  }
}

Session::Session(Role role, Options options, SessionHandler& handler)
    : impl_(std::make_unique<Impl>(role, std::move(options), handler)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

Result<void> Session::receive(ByteView bytes) { return impl_->receive(bytes); }
ByteView Session::output() { return impl_->output(); }
void Session::sent(std::size_t count) { impl_->sent(count); }
void Session::fail(const Error& error) { impl_->fail(error, true); }
bool Session::failed() const noexcept { return impl_->error_.has_value(); }

core::TimePoint Session::next_tick() const noexcept {
  if (impl_->options_.heartbeat <= core::Duration::zero() || impl_->error_ || !impl_->connected_) {
    return core::TimePoint::max();
  }
  return impl_->last_tick_ ? *impl_->last_tick_ + impl_->options_.heartbeat : core::TimePoint::min();
}

void Session::tick(core::TimePoint now) {
  Impl& impl = *impl_;
  if (now < next_tick() || next_tick() == core::TimePoint::max()) return;
  const bool first = !impl.last_tick_;
  impl.last_tick_ = now;
  if (std::exchange(impl.heard_, false) || first) {
    impl.silent_ticks_ = 0;
    if (impl.unacked_frames_ > 0) {
      impl.control({.type = FrameType::ack, .offset = impl.received_frames_});
      impl.unacked_frames_ = impl.unacked_bytes_ = 0;
    }
    return;
  }
  if (++impl.silent_ticks_ > 3) {
    if (impl.options_.resumable && (impl.peer_.resumable || impl.holding())) return;
    impl.fail(Error(ErrorCode::unavailable, "the peer is silent").with_retry(Retry::now), true);
    return;
  }
  impl.control({.type = FrameType::ping, .offset = kHeartbeat});
}

bool Session::silent() const noexcept { return impl_->silent_ticks_ > 3; }

void Session::disconnected() {
  Impl& impl = *impl_;
  if (impl.error_) return;
  impl.connected_ = false;
  impl.control_.clear();
  impl.control_position_ = 0;
  impl.control_begun_ = false;
  impl.offered_ = Impl::Offered::nothing;
  impl.in_frame_ = false;
  impl.head_size_ = 0;
  impl.body_.clear();
  impl.data_stream_ = nullptr;
  impl.again_ = impl.again_end_ = 0;
  impl.again_position_ = 0;
  Tx* tx = std::exchange(impl.current_tx_, nullptr);
  Chunk* chunk = std::exchange(impl.current_, nullptr);
  // For its queue the frame has left; a resumable session keeps it.
  if (tx) tx->queued -= chunk->raw_size;
  if (chunk && !impl.options_.resumable) impl.pool_.put(chunk);
  if (tx) impl.left(*tx);
}

Result<void> Session::resume() {
  Impl& impl = *impl_;
  if (impl.error_) return *impl.error_;
  if (!impl.connected_ && impl.holding()) {
    // The peer has nothing of ours that counts.
    impl.connected_ = true;
    impl.heard_hello_ = false;
    impl.heard_ = true;
    impl.silent_ticks_ = 0;
    impl.say_hello(false);
    return {};
  }
  if (impl.connected_ || !impl.ready_ || !impl.options_.resumable || !impl.peer_.resumable) {
    return Error(ErrorCode::failed_precondition, "this session cannot be resumed");
  }
  impl.connected_ = true;
  impl.resuming_ = true;
  impl.heard_hello_ = impl.heard_resume_ = false;
  impl.heard_ = true;
  impl.silent_ticks_ = 0;
  impl.unacked_frames_ = impl.unacked_bytes_ = 0;
  impl.say_hello(true);
  impl.control({.type = FrameType::resume, .offset = impl.received_frames_});
  return {};
}

bool Session::ready() const noexcept { return impl_->ready_; }
StreamId Session::last_stream() const noexcept { return impl_->last_stream_; }
bool Session::online() const noexcept { return impl_->ready_ && impl_->connected_ && !impl_->resuming_ && !impl_->error_; }
const protocol::Hello& Session::peer() const noexcept { return impl_->peer_; }

StreamId Session::open(protocol::Method method, std::string params, StreamHandler* handler, std::string key) {
  Impl& impl = *impl_;
  if (impl.error_) {
    if (handler) handler->on_lost(*impl.error_);
    return 0;
  }
  if (params.size() > protocol::kMaxRequest || key.size() > protocol::kMaxIdempotencyKey) {
    if (handler) handler->on_end(end_of(Error(ErrorCode::invalid_argument, "the request is too large")));
    return 0;
  }
  if (impl.role_ != Role::client || impl.last_stream_ == ~StreamId{0}) {
    if (handler) handler->on_end(end_of(Error(ErrorCode::failed_precondition, "no more streams in this session")));
    return 0;
  }
  const StreamId id = ++impl.last_stream_;
  auto stream = std::make_unique<Stream>();
  stream->id = id;
  stream->handler = handler;
  for (Tx& tx : stream->tx) {
    tx.stream = stream.get();
    tx.credit = impl.ready_ ? impl.peer_.window : 0;
  }
  for (Rx& rx : stream->rx) rx.granted = impl.options_.window;
  impl.streams_.emplace(id, std::move(stream));
  protocol::Open open{.method = method, .params = std::move(params), .idempotency_key = std::move(key)};
  impl.control({.type = FrameType::open, .stream = id}, as_bytes(protocol::encode(open)));
  return id;
}

std::span<std::byte> Session::reserve(StreamId stream, Channel channel, std::size_t max) {
  Tx* tx = impl_->tx_of(stream, channel);
  if (!tx) return {};
  const std::span<std::byte> room = impl_->room(*tx, max);
  if (room.empty() && max > 0) tx->wants_writable = true;
  return room;
}

void Session::commit(StreamId stream, Channel channel, std::size_t count, bool fin) {
  if (Tx* tx = impl_->tx_of(stream, channel); tx && !tx->fin) impl_->add(*tx, count, fin);
}

std::size_t Session::send(StreamId stream, Channel channel, ByteView data, bool fin) {
  Tx* tx = impl_->tx_of(stream, channel);
  if (!tx || tx->fin) return 0;
  std::size_t taken = 0;
  while (taken < data.size()) {
    const std::span<std::byte> room = impl_->room(*tx, data.size() - taken);
    if (room.empty()) break;
    std::memcpy(room.data(), data.data() + taken, room.size());
    taken += room.size();
    impl_->add(*tx, room.size(), fin && taken == data.size());
  }
  if (taken < data.size()) tx->wants_writable = true;
  else if (fin && !tx->fin) impl_->add(*tx, 0, true);
  return taken;
}

std::size_t Session::writable(StreamId stream, Channel channel) const noexcept {
  const Tx* tx = impl_->tx_of(stream, channel);
  return tx ? impl_->writable(*tx) : 0;
}

Result<void> Session::send_message(StreamId id, std::string message) {
  if (message.size() > protocol::kMaxRequest) {
    // By the same codes as a request and a result that are too large: open(), end().
    const bool client = impl_->role_ == Role::client;
    return Error(client ? ErrorCode::invalid_argument : ErrorCode::resource_exhausted, "the message is too large");
  }
  Stream* stream = impl_->find(id);
  if (!stream || stream->ended) return {};
  impl_->control({.type = FrameType::message, .stream = id}, as_bytes(message));
  return {};
}

bool Session::can_message(StreamId id) {
  if (impl_->control_pending() < kControlHigh && impl_->may_send_data()) return true;
  auto& waiting = impl_->undrained_;
  if (std::find(waiting.begin(), waiting.end(), id) == waiting.end()) waiting.push_back(id);
  return false;
}

void Session::consumed(StreamId id, Channel channel, std::size_t count) {
  Stream* stream = impl_->find(id);
  if (!stream || stream->ended) return;
  Rx& rx = stream->rx[slot(channel)];
  rx.consumed = std::min<std::uint64_t>(rx.consumed + count, rx.received);
  impl_->grant(*stream, rx, channel);
}

void Session::cancel(StreamId id) {
  Stream* stream = impl_->find(id);
  if (!stream || impl_->role_ != Role::client || std::exchange(stream->cancelled, true)) return;
  impl_->control({.type = FrameType::cancel, .stream = id});
}

void Session::detach(StreamId id) {
  Stream* stream = impl_->find(id);
  if (!stream || impl_->role_ != Role::client) return;
  stream->handler = nullptr;
  for (Rx& rx : stream->rx) {
    rx.consumed = rx.received;
    impl_->grant(*stream, rx, &rx == &stream->rx[0] ? Channel::out : Channel::err);
  }
}

void Session::end(StreamId id, protocol::End end) {
  Stream* stream = impl_->find(id);
  if (!stream || impl_->role_ != Role::agent || stream->ended) return;
  if (end.message.size() > 4096) end.message.resize(4096);
  if (end.operation.size() > 1024) end.operation.resize(1024);
  if (end.result.size() > protocol::kMaxRequest) {
    end = end_of(Error(ErrorCode::resource_exhausted, "the result is too large"));
  }
  stream->ended = true;
  stream->end = std::move(end);
  impl_->flush_end(*stream);
}

void Session::ping(std::uint64_t nonce) {
  if (!impl_->error_ && !impl_->resuming_) impl_->control({.type = FrameType::ping, .offset = nonce});
}

std::size_t Session::open_streams() const noexcept { return impl_->streams_.size(); }

protocol::End end_of(const Error& error) {
  protocol::End end;
  end.code = static_cast<std::uint16_t>(error.code());
  end.message = error.message();
  end.operation = error.operation();
  end.sys_errno = error.sys_errno();
  return end;
}

Error error_of(const protocol::End& end) {
  const bool known = end.code >= 1 && end.code <= static_cast<std::uint16_t>(ErrorCode::internal);
  Error error(known ? static_cast<ErrorCode>(end.code) : ErrorCode::internal, end.message);
  return std::move(error).with_operation(end.operation).with_errno(end.sys_errno).with_origin(Origin::guest);
}

}  // namespace sandbox::session
