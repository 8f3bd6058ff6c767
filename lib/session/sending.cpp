#include <algorithm>
#include <cstring>
#include <utility>

#include "session/session_impl.hpp"

/// From what operations queue to the bytes that leave: the control lane, the ring of channels, resending.
namespace sandbox::session {
namespace {

/// DATA frames up to this size are copied behind pending control frames, so that they leave in one write.
constexpr std::size_t kCoalesceFrame = 4096;
constexpr std::size_t kCoalesceTotal = 16 << 10;
/// Compression: frames below this are sent raw; a failure skips the next 1, 2, 4 … kMaxSkip frames of the channel.
constexpr std::size_t kMinCompress = 512;
constexpr unsigned kMaxSkip = 64;

}  // namespace

void Session::Impl::control(FrameHeader header, ByteView payload) {
  header.length = static_cast<std::uint32_t>(payload.size());
  if (options_.resumable && reliable(header.type)) {
    Chunk* chunk = pool_.get(payload.size());
    chunk->size = header.length;
    encode(header, chunk->wire());
    if (!payload.empty()) std::memcpy(chunk->payload(), payload.data(), payload.size());
    number(chunk);
    // Nothing reaches a lost transport; what is to be sent again goes first, in the order of the numbers.
    if (!connected_ || resuming_ || holding()) return;
    if (again_ < again_end_) {
      again_end_ = numbered_;
      return;
    }
  }
  if (!connected_) return;
  if (control_position_ > control_.size() / 2 && control_position_ > 4096) {
    control_.erase(0, control_position_);
    control_position_ = 0;
    control_begun_ = true;
  }
  std::byte head[kFrameHeader];
  encode(header, head);
  control_.append(reinterpret_cast<const char*>(head), sizeof head);
  control_.append(reinterpret_cast<const char*>(payload.data()), payload.size());
}

void Session::Impl::say_hello(bool again) {
  protocol::Hello hello = again ? protocol::Hello{} : options_.hello;
  hello.version = protocol::kVersion;
  hello.software = options_.software;
  hello.session_id = role_ == Role::agent ? options_.hello.session_id : peer_.session_id;
  hello.window = options_.window;
  hello.max_frame = options_.max_frame;
  hello.resumable = options_.resumable;
  if (options_.compress) hello.capabilities.push_back("zstd");
  control({.type = FrameType::hello}, as_bytes(protocol::encode(hello)));
}

Tx* Session::Impl::tx_of(StreamId id, Channel channel) noexcept {
  // The client sends `in`, the agent `out` and `err`.
  if ((channel == Channel::in) != (role_ == Role::client)) return nullptr;
  Stream* stream = find(id);
  return stream && !stream->ended ? &stream->tx[slot(channel)] : nullptr;
}

std::size_t Session::Impl::writable(const Tx& tx) const noexcept {
  if (tx.fin || !ready_) return 0;
  const std::uint64_t queue = options_.send_queue > tx.queued ? options_.send_queue - tx.queued : 0;
  return static_cast<std::size_t>(std::min(tx.credit - tx.offset, queue));
}

std::span<std::byte> Session::Impl::room(Tx& tx, std::size_t max) {
  max = std::min(max, writable(tx));
  if (max == 0) return {};
  max = std::min<std::size_t>(max, max_data_);
  if (Chunk* tail = tx.tail; tail && !tail->final_form && !tx.spare) {
    const std::size_t limit = std::min<std::size_t>(tail->capacity, max_data_);
    const std::size_t left = limit - tail->size;
    if (left >= std::min<std::size_t>(max, 16384)) return {tail->payload() + tail->size, std::min(max, left)};
  }
  // A queue that builds up gets larger frames than a single small write.
  const std::size_t want = std::min<std::size_t>(std::max<std::size_t>(max, tx.queued ? 16384 : 0), max_data_);
  if (tx.spare && tx.spare->capacity < max) pool_.put(std::exchange(tx.spare, nullptr));
  if (!tx.spare) tx.spare = pool_.get(want);
  return {tx.spare->payload(), max};
}

void Session::Impl::add(Tx& tx, std::size_t count, bool fin) {
  if (count == 0 && !fin) return;
  Chunk* chunk = tx.spare ? std::exchange(tx.spare, nullptr) : nullptr;
  if (!chunk && (!tx.tail || tx.tail->final_form)) chunk = pool_.get(0);  // an empty fin
  if (chunk) {
    chunk->offset = tx.offset;
    (tx.tail ? tx.tail->next : tx.head) = chunk;
    tx.tail = chunk;
  }
  tx.tail->size += static_cast<std::uint32_t>(count);
  tx.tail->raw_size = tx.tail->size;
  tx.tail->fin = fin;
  tx.offset += count;
  tx.queued += count;
  tx.fin = fin;
  enqueue(tx);
}

void Session::Impl::enqueue(Tx& tx) noexcept {
  if (tx.ready_next) return;
  if (!ready_tx_) {
    tx.ready_next = tx.ready_previous = ready_tx_ = &tx;
    return;
  }
  tx.ready_next = ready_tx_;
  tx.ready_previous = ready_tx_->ready_previous;
  tx.ready_previous->ready_next = ready_tx_->ready_previous = &tx;
}

void Session::Impl::dequeue(Tx& tx) noexcept {
  if (!tx.ready_next) return;
  if (tx.ready_next == &tx) {
    ready_tx_ = nullptr;
  } else {
    if (ready_tx_ == &tx) ready_tx_ = tx.ready_next;
    tx.ready_next->ready_previous = tx.ready_previous;
    tx.ready_previous->ready_next = tx.ready_next;
  }
  tx.ready_next = tx.ready_previous = nullptr;
}

void Session::Impl::drop_queue(Tx& tx) noexcept {
  dequeue(tx);
  while (Chunk* chunk = tx.head) {
    tx.head = chunk->next;
    pool_.put(chunk);
  }
  tx.tail = nullptr;
  tx.queued = 0;
  if (tx.spare) pool_.put(std::exchange(tx.spare, nullptr));
  if (current_tx_ == &tx) current_tx_ = nullptr;
}

/// Gives the first chunk of `tx` its final bytes.
void Session::Impl::prepare(Tx& tx) {
  Chunk* chunk = tx.head;
  if (compress_ && !chunk->final_form) {
    chunk->final_form = true;
    if (tx.skip > 0) {
      --tx.skip;
    } else if (chunk->size >= kMinCompress) {
      Chunk* smaller = pool_.get(chunk->size);
      const std::size_t limit = chunk->size - chunk->size / 16;
      if (const auto size = compressor_.compress({chunk->payload(), chunk->size}, {smaller->payload(), limit})) {
        smaller->next = chunk->next;
        smaller->size = static_cast<std::uint32_t>(*size);
        smaller->raw_size = chunk->raw_size;
        smaller->offset = chunk->offset;
        smaller->fin = chunk->fin;
        smaller->compressed = smaller->final_form = true;
        tx.head = smaller;
        if (tx.tail == chunk) tx.tail = smaller;
        pool_.put(chunk);
        chunk = smaller;
        tx.skip_next = 1;
      } else {
        pool_.put(smaller);
        tx.skip = tx.skip_next;
        tx.skip_next = static_cast<std::uint8_t>(std::min<unsigned>(tx.skip_next * 2u, kMaxSkip));
      }
    }
  }
  FrameHeader header{.length = chunk->size, .type = FrameType::data};
  header.flags = static_cast<std::uint8_t>((chunk->fin ? protocol::kFin : 0) | (chunk->compressed ? protocol::kZstd : 0));
  header.channel = static_cast<std::uint8_t>(tx.channel);
  header.stream = tx.stream->id;
  header.offset = chunk->offset;
  encode(header, chunk->wire());
}

/// Takes the first chunk of `tx`, whose turn passes to the next channel.
Chunk* Session::Impl::pop(Tx& tx) noexcept {
  Chunk* chunk = tx.head;
  tx.head = chunk->next;
  chunk->next = nullptr;
  if (!tx.head) {
    tx.tail = nullptr;
    dequeue(tx);
  } else if (ready_tx_ == &tx) {
    ready_tx_ = tx.ready_next;
  }
  return chunk;
}

/// A reliable frame takes its place in the order of the wire.
void Session::Impl::number(Chunk* chunk) {
  ++numbered_;
  kept_.push_back(chunk);
  kept_bytes_ += kFrameHeader + chunk->size;
}

/// A chunk of `tx` is on its way.
void Session::Impl::left(Tx& tx) {
  if (tx.stream->end) flush_end(*tx.stream);
  if (tx.wants_writable) wake(tx);
}

void Session::Impl::wake(Tx& tx) {
  const std::size_t room = writable(tx);
  if (room == 0 || (room < max_data_ && tx.queued > 0)) return;
  tx.wants_writable = false;
  if (tx.stream->handler && !tx.stream->ended) tx.stream->handler->on_writable(tx.channel);
}

void Session::Impl::flush_credit() {
  if (credit_due_.empty()) return;
  for (const StreamId id : credit_due_) {
    Stream* stream = find(id);
    if (!stream || stream->ended) continue;  // after END the peer would not know the stream
    for (Rx& rx : stream->rx) {
      if (!rx.credit_due) continue;
      rx.credit_due = false;
      if (rx.fin) continue;
      rx.granted = rx.consumed + options_.window;
      const Channel channel = role_ == Role::agent ? Channel::in : &rx == &stream->rx[0] ? Channel::out : Channel::err;
      control({.type = FrameType::credit, .channel = static_cast<std::uint8_t>(channel), .stream = id,
               .offset = rx.granted});
    }
  }
  credit_due_.clear();
}

/// Queues END once nothing of the stream waits.
void Session::Impl::flush_end(Stream& stream) {
  if (!stream.end || stream.end_queued) return;
  for (const Tx& tx : stream.tx) {
    if (tx.head || current_tx_ == &tx) return;
  }
  stream.end_queued = true;
  control({.type = FrameType::end, .stream = stream.id}, as_bytes(protocol::encode(*stream.end)));
  stream.end.reset();
  closed_.push_back(stream.id);
}

/// Small DATA goes out together with control frames.
void Session::Impl::coalesce() {
  while (!current_ && ready_tx_ && ready_tx_->head->size <= kCoalesceFrame && control_pending() < kCoalesceTotal &&
         may_send_data()) {
    Tx& tx = *ready_tx_;
    prepare(tx);
    Chunk* chunk = pop(tx);
    tx.queued -= chunk->raw_size;
    const ByteView frame = chunk->frame();
    control_.append(reinterpret_cast<const char*>(frame.data()), frame.size());
    if (options_.resumable) number(chunk);
    else pool_.put(chunk);
    left(tx);
    if (error_) return;
  }
}

void Session::Impl::report_closed() {
  while (!closed_.empty()) {
    const std::vector<StreamId> closed = std::exchange(closed_, {});
    for (const StreamId id : closed) {
      const auto it = streams_.find(id);
      if (it == streams_.end()) continue;
      for (Tx& tx : it->second->tx) drop_queue(tx);
      if (latest_ == it->second.get()) latest_ = nullptr;
      if (data_stream_ == it->second.get()) data_stream_ = nullptr;
      streams_.erase(it);
      handler_.on_stream_closed(id);
      if (error_) return;
    }
  }
  if (streams_.empty() && kept_.empty()) pool_.trim();
}

ByteView Session::Impl::output() {
  offered_ = Offered::nothing;
  if (!connected_) return {};
  if (current_) {
    offered_ = Offered::current;
    return current_->frame().subspan(current_position_);
  }
  if (again_position_ > 0) {
    // Begun, so it ends before anything else leaves, also when the session has failed: whatever came instead would be taken
    // for the rest of it.
    offered_ = Offered::again;
    return kept_[again_ - kept_first_]->frame().subspan(again_position_);
  }
  if (!error_) {
    if (!resuming_ && again_ < again_end_) {
      // Only frames without a number are in control_ now: HELLO and RESUME of this transport, pings, ACKs.
      if (control_pending() == 0) {
        offered_ = Offered::again;
        return kept_[again_ - kept_first_]->frame();
      }
    } else if (!resuming_ && !holding()) {
      flush_credit();
      if (ready_) coalesce();
      if (!error_ && !closed_.empty()) report_closed();
    }
  }
  if (control_pending() > 0) {
    offered_ = Offered::control;
    return as_bytes(std::string_view(control_).substr(control_position_));
  }
  // While held, too: an input's end needs no credit, and would overtake the OPEN of its stream.
  if (error_ || resuming_ || holding() || !ready_tx_ || !may_send_data()) return {};
  prepare(*ready_tx_);
  offered_ = Offered::next;
  return ready_tx_->head->frame();
}

void Session::Impl::sent(std::size_t count) {
  if (count == 0) return;
  switch (std::exchange(offered_, Offered::nothing)) {
    case Offered::nothing: return;
    case Offered::control:
      control_position_ += std::min(count, control_pending());
      if (control_pending() == 0) {
        control_position_ = 0;
        control_begun_ = false;
        if (control_.capacity() > kControlLow) std::string().swap(control_);
        else control_.clear();
      }
      drained();
      return;
    case Offered::again:
      again_position_ += count;
      if (again_position_ >= kept_[again_ - kept_first_]->frame().size()) {
        ++again_;
        again_position_ = 0;
      }
      return;
    case Offered::next:
      current_tx_ = ready_tx_;
      current_ = pop(*ready_tx_);
      current_position_ = 0;
      current_number_ = numbered_;
      if (options_.resumable) number(current_);
      [[fallthrough]];
    case Offered::current:
      current_position_ += count;
      if (current_position_ < current_->frame().size()) return;
      Chunk* done = std::exchange(current_, nullptr);
      Tx* tx = std::exchange(current_tx_, nullptr);
      const std::uint32_t size = done->raw_size;
      if (!options_.resumable) pool_.put(done);
      if (tx) {
        tx->queued -= size;
        left(*tx);
      }
      return;
  }
}

void Session::Impl::drained() {
  if (undrained_.empty() || control_pending() >= kControlLow || !may_send_data()) return;
  for (const StreamId id : std::exchange(undrained_, {})) {
    if (error_) return;
    if (Stream* stream = find(id); stream && stream->handler && !stream->ended) stream->handler->on_drained();
  }
}

}  // namespace sandbox::session
