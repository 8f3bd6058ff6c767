#include <algorithm>
#include <cstring>
#include <utility>

#include "session/session_impl.hpp"

/// From the bytes that arrive to what handlers are told.
namespace sandbox::session {
namespace {

/// A peer that makes us queue more control frames than this (answers it does not read) loses its session.
constexpr std::size_t kMaxControl = 16 << 20;
constexpr std::uint64_t kAckBytes = 64 << 10;
constexpr std::uint64_t kAckFrames = 16;

Error broken(std::string what) { return Error(ErrorCode::protocol, std::move(what)); }

}  // namespace

Result<void> Session::Impl::receive(ByteView in) {
  if (error_) return *error_;
  if (!connected_) return {};  // late bytes of a transport that was given up
  heard_ = true;
  while (!in.empty()) {
    if (!in_frame_) {
      ByteView head;
      if (head_size_ == 0 && in.size() >= kFrameHeader) {
        head = in.first(kFrameHeader);
        in = in.subspan(kFrameHeader);
      } else {
        const std::size_t part = std::min(in.size(), kFrameHeader - head_size_);
        std::memcpy(head_ + head_size_, in.data(), part);
        head_size_ += part;
        in = in.subspan(part);
        if (head_size_ < kFrameHeader) break;
        head = head_;
        head_size_ = 0;
      }
      auto header = protocol::decode_header(head, options_.max_frame);
      Result<void> begun = header ? (frame_ = *header, begin_frame()) : Result<void>(std::move(header).error());
      if (!begun) {
        fail(begun.error(), true);
        return begun;
      }
      in_frame_ = true;
      frame_left_ = frame_.length;
      if (frame_left_ > 0) continue;
    }
    const std::size_t part = std::min(in.size(), frame_left_);
    const ByteView bytes = in.first(part);
    in = in.subspan(part);
    frame_left_ -= part;
    const bool complete = frame_left_ == 0;
    Result<void> handled;
    if (frame_.type == FrameType::data && !(frame_.flags & protocol::kZstd)) {
      if (complete) in_frame_ = false;
      deliver(bytes);
    } else if (complete && body_.empty()) {
      in_frame_ = false;
      handled = frame_.type == FrameType::data ? end_data(bytes) : handle(bytes);
    } else {
      // Grows with what arrives, not with what the header promises.
      body_.append(as_text(bytes));
      if (complete) {
        in_frame_ = false;
        const std::string body = std::exchange(body_, {});
        handled = frame_.type == FrameType::data ? end_data(as_bytes(body)) : handle(as_bytes(body));
      }
    }
    if (!handled) {
      fail(handled.error(), true);
      return handled;
    }
    if (error_) return *error_;
    if (complete) count_frame();
  }
  if (control_pending() > kMaxControl || kept_bytes_ > options_.max_unacknowledged + kMaxControl) {
    fail(Error(ErrorCode::resource_exhausted, "the peer does not read our answers"), true);
    return *error_;
  }
  return {};
}

void Session::Impl::count_frame() {
  data_stream_ = nullptr;
  if (!reliable(frame_.type)) return;
  ++received_frames_;
  partial_ = 0;
  if (!peer_.resumable) return;
  ++unacked_frames_;
  unacked_bytes_ += kFrameHeader + frame_.length;
  if (unacked_frames_ >= kAckFrames || unacked_bytes_ >= kAckBytes) {
    control({.type = FrameType::ack, .offset = received_frames_});
    unacked_frames_ = unacked_bytes_ = 0;
  }
}

/// The header is complete: may this frame come now?
Result<void> Session::Impl::begin_frame() {
  if (!heard_hello_) {
    // Who refuses us may do so without an introduction.
    if (frame_.type != FrameType::hello && frame_.type != FrameType::goaway) return broken("the first frame is not a hello");
    return {};
  }
  if (frame_.type == FrameType::hello) return broken("a second hello");
  if (!heard_resume_) {
    if (frame_.type != FrameType::resume && frame_.type != FrameType::goaway) return broken("the second frame is not a resume");
    return {};
  }
  if (frame_.type == FrameType::resume) return broken("unexpected resume");
  // A peer that gives up need not finish what it began.
  if (partial_ > 0 && frame_.type != FrameType::data && frame_.type != FrameType::goaway && reliable(frame_.type)) {
    return broken("the interrupted frame was not sent again");
  }
  switch (frame_.type) {
    case FrameType::data: return begin_data();
    case FrameType::open:
      if (role_ != Role::agent || frame_.stream <= last_stream_) return broken("unexpected open");
      return {};
    case FrameType::end:
      if (role_ != Role::client || !find(frame_.stream)) return broken("unexpected end");
      return {};
    case FrameType::cancel:
      if (role_ != Role::agent) return broken("unexpected cancel");
      [[fallthrough]];
    case FrameType::message:
    case FrameType::credit:
      if (!find(frame_.stream) && (role_ == Role::client || !closed_before(frame_.stream))) {
        return broken("frame of an unknown stream");
      }
      if (frame_.type == FrameType::credit && (frame_.channel == 0) != (role_ == Role::client)) {
        return broken("credit for a channel we do not send");
      }
      return {};
    default: return {};
  }
}

Result<void> Session::Impl::begin_data() {
  const auto channel = static_cast<Channel>(frame_.channel);
  if ((channel == Channel::in) != (role_ == Role::agent)) return broken("data on a channel the peer does not send");
  if ((frame_.flags & protocol::kZstd) && !options_.compress) return broken("compressed data was not offered");
  skip_ = 0;
  data_stream_ = find(frame_.stream);
  if (!data_stream_) {
    // The client may not know yet that its stream ended. Agents always do.
    if (role_ == Role::client || !closed_before(frame_.stream)) return broken("data of an unknown stream");
    return {};
  }
  Rx& rx = data_stream_->rx[slot(channel)];
  if (partial_ > 0) {
    // The transport broke inside this frame; it comes again from its beginning.
    if ((frame_.flags & protocol::kZstd) || frame_.length < partial_) return broken("resumed data differs");
    skip_ = partial_;
  }
  if (frame_.offset + skip_ != rx.received) return broken("data has a gap or overlaps");
  if (rx.fin) return broken("data after its end");
  // Compressed data is measured when it is complete.
  if (!(frame_.flags & protocol::kZstd) && frame_.length - skip_ > rx.granted - rx.received) {
    return broken("data exceeds its credit");
  }
  return {};
}

/// Content of the DATA frame being received, as it arrives; also called once for a frame without any.
void Session::Impl::deliver(ByteView part) {
  const bool last = !in_frame_;
  if (skip_ > 0) {
    const auto known = static_cast<std::size_t>(std::min<std::uint64_t>(skip_, part.size()));
    skip_ -= known;
    part = part.subspan(known);
  }
  Stream* stream = data_stream_;
  if (!stream) return;
  const auto channel = static_cast<Channel>(frame_.channel);
  Rx& rx = stream->rx[slot(channel)];
  const bool fin = last && (frame_.flags & protocol::kFin);
  rx.received += part.size();
  partial_ = last ? 0 : rx.received - frame_.offset;
  if (fin) rx.fin = true;
  if (part.empty() && !fin) return;
  if (stream->handler && !stream->ended) {
    stream->handler->on_data(channel, part, fin);
  } else {
    rx.consumed = rx.received;
    if (!stream->ended) grant(*stream, rx, channel);
  }
}

Result<void> Session::Impl::end_data(ByteView compressed) {
  Stream* stream = data_stream_;
  if (!stream) return {};
  Rx& rx = stream->rx[slot(static_cast<Channel>(frame_.channel))];
  const std::uint64_t credit = rx.granted - rx.received;
  SANDBOX_TRY(const std::size_t size,
              protocol::Decompressor::raw_size(compressed, std::min<std::uint64_t>(credit, options_.max_frame)));
  if (inflated_.size() < size) inflated_.resize(size);
  const std::span<std::byte> raw(inflated_.data(), size);
  SANDBOX_CHECK(decompressor_.decompress(compressed, raw));
  deliver(raw);
  return {};
}

void Session::Impl::grant(Stream& stream, Rx& rx, Channel) {
  if (rx.credit_due || rx.fin) return;
  if (rx.consumed + options_.window - rx.granted < std::max<std::uint64_t>(options_.window / 4, 1)) return;
  const bool listed = stream.rx[0].credit_due || stream.rx[1].credit_due;
  rx.credit_due = true;
  if (!listed) credit_due_.push_back(stream.id);
}

Result<void> Session::Impl::handle(ByteView payload) {
  switch (frame_.type) {
    case FrameType::hello: return handle_hello(payload);
    case FrameType::open: return handle_open(payload);
    case FrameType::data: return {};
    case FrameType::credit: {
      Stream* stream = find(frame_.stream);
      if (!stream || stream->ended) return {};
      Tx& tx = stream->tx[slot(static_cast<Channel>(frame_.channel))];
      if (frame_.offset < tx.credit || frame_.offset > kMaxOffset) return broken("credit goes back");
      tx.credit = frame_.offset;
      if (tx.wants_writable) wake(tx);
      return {};
    }
    case FrameType::message: {
      Stream* stream = find(frame_.stream);
      if (stream && stream->handler && !stream->ended) stream->handler->on_message(payload);
      return {};
    }
    case FrameType::end: {
      SANDBOX_TRY(const protocol::End end, protocol::decode<protocol::End>(payload));
      const auto it = streams_.find(frame_.stream);
      const std::unique_ptr<Stream> stream = std::move(it->second);
      streams_.erase(it);
      latest_ = nullptr;
      for (Tx& tx : stream->tx) drop_queue(tx);
      if (stream->handler) stream->handler->on_end(end);
      if (streams_.empty() && kept_.empty()) pool_.trim();
      return {};
    }
    case FrameType::cancel: {
      Stream* stream = find(frame_.stream);
      if (!stream || stream->ended || std::exchange(stream->cancelled, true)) return {};
      if (stream->handler) stream->handler->on_cancel();
      return {};
    }
    case FrameType::ping: control({.type = FrameType::pong, .offset = frame_.offset}); return {};
    case FrameType::pong:
      if (frame_.offset != kHeartbeat) handler_.on_pong(frame_.offset);
      return {};
    case FrameType::ack: return acknowledge(frame_.offset, false);
    case FrameType::resume: return acknowledge(frame_.offset, true);
    case FrameType::goaway: {
      SANDBOX_TRY(const protocol::End end, protocol::decode<protocol::End>(payload));
      // Whatever an agent says instead of where it stands: it is not the one that knew the session.
      if (role_ == Role::client && ready_ && !heard_resume_) {
        fail(Error(ErrorCode::unavailable, "the peer lost the session").with_retry(Retry::now).with_cause(error_of(end)), false);
        return {};
      }
      fail(end.code == 0 ? Error(ErrorCode::unavailable, "the peer closed the session") : error_of(end), false);
      return {};
    }
  }
  return {};
}

Result<void> Session::Impl::handle_hello(ByteView payload) {
  SANDBOX_TRY(protocol::Hello hello, protocol::decode<protocol::Hello>(payload));
  if (hello.version < protocol::kVersion) return broken("the peer speaks an older version");
  if (hello.max_frame < protocol::kMinMaxFrame) return broken("the peer's largest frame is too small");
  heard_hello_ = true;
  if (ready_) {
    const std::string& ours = role_ == Role::agent ? options_.hello.session_id : peer_.session_id;
    if (hello.session_id != ours) return Error(ErrorCode::unavailable, "the peer lost the session").with_retry(Retry::now);
    return {};
  }
  peer_ = std::move(hello);
  peer_.window = std::min(peer_.window, kMaxOffset);
  max_data_ = std::min(options_.max_data, peer_.max_frame);
  compress_ = options_.compress && std::find(peer_.capabilities.begin(), peer_.capabilities.end(), "zstd") !=
                                       peer_.capabilities.end();
  const bool held = holding();
  ready_ = true;
  if (held) {
    if (!peer_.resumable) return broken("the peer's session cannot be resumed");
    // What was to leave meanwhile was only kept: it leaves now, as if again.
    again_ = kept_first_;
    again_end_ = numbered_;
    again_position_ = 0;
  }
  std::vector<StreamId> early;
  for (auto& [id, stream] : streams_) {
    for (Tx& tx : stream->tx) tx.credit = peer_.window;
    early.push_back(id);
  }
  handler_.on_ready(peer_);
  std::sort(early.begin(), early.end());
  for (const StreamId id : early) {
    if (error_) return {};
    Stream* stream = find(id);
    if (stream && stream->tx[0].wants_writable) wake(stream->tx[0]);
  }
  return {};
}

Result<void> Session::Impl::handle_open(ByteView payload) {
  SANDBOX_TRY(const protocol::Open open, protocol::decode<protocol::Open>(payload));
  if (open.idempotency_key.size() > protocol::kMaxIdempotencyKey) return broken("idempotency key is too long");
  const StreamId id = last_stream_ = frame_.stream;
  if (streams_.size() >= options_.max_streams) {
    // Answered without a stream, so that a flood of them costs only the answers, which kMaxControl bounds.
    const protocol::End refusal = end_of(Error(ErrorCode::resource_exhausted, "too many streams are open"));
    control({.type = FrameType::end, .stream = id}, as_bytes(protocol::encode(refusal)));
    return {};
  }
  auto made = std::make_unique<Stream>();
  Stream& stream = *made;
  stream.id = id;
  for (std::size_t i = 0; i < 2; ++i) {
    stream.tx[i].stream = &stream;
    stream.tx[i].channel = i == 0 ? Channel::out : Channel::err;
    stream.tx[i].credit = peer_.window;
    stream.rx[i].granted = options_.window;
  }
  streams_.emplace(id, std::move(made));
  StreamHandler* handler = handler_.on_open(id, open.method, as_bytes(open.params), open.idempotency_key);
  if (error_) return {};
  if (handler) {
    stream.handler = handler;
    return {};
  }
  if (stream.ended) return {};
  stream.ended = true;
  stream.end = end_of(Error(ErrorCode::unsupported, "unknown method"));
  flush_end(stream);
  return {};
}

/// The peer has the first `count` reliable frames.
Result<void> Session::Impl::acknowledge(std::uint64_t count, bool resuming) {
  // A frame that is still leaving cannot have arrived.
  std::uint64_t possible = numbered_;
  if (!resuming && current_) possible = current_number_;
  if (!resuming && again_ < again_end_) possible = again_;
  if (!options_.resumable || count < kept_first_ || count > possible) return broken("impossible acknowledgement");
  while (kept_first_ < count) {
    Chunk* chunk = kept_.front();
    kept_.pop_front();
    kept_bytes_ -= kFrameHeader + chunk->size;
    pool_.put(chunk);
    ++kept_first_;
  }
  if (resuming) {
    heard_resume_ = true;
    resuming_ = false;
    again_ = kept_first_;
    again_end_ = numbered_;
    again_position_ = 0;
  }
  drained();
  return {};
}

}  // namespace sandbox::session
