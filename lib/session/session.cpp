#include "session/session.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "protocol/frame.hpp"
#include "protocol/zstd.hpp"

namespace sandbox::session {
namespace {

using protocol::FrameHeader;
using protocol::FrameType;
using protocol::kFrameHeader;

/// DATA frames up to this size are copied behind pending control frames, so that they leave in one write.
constexpr std::size_t kCoalesceFrame = 4096;
constexpr std::size_t kCoalesceTotal = 16 << 10;
/// can_message() turns false above the first and on_drained() comes below the second; bytes of queued control frames.
constexpr std::size_t kControlHigh = 256 << 10;
constexpr std::size_t kControlLow = 64 << 10;
/// A peer that makes us queue more control frames than this (answers it does not read) loses its session.
constexpr std::size_t kMaxControl = 16 << 20;
/// Least Options::max_unacknowledged: the receiver acknowledges after a quarter of it, so it cannot stall.
constexpr std::uint64_t kMinUnacknowledged = 256 << 10;
constexpr std::uint64_t kAckBytes = 64 << 10;
constexpr std::uint64_t kAckFrames = 16;
/// Compression: frames below this are sent raw; a failure skips the next 1, 2, 4 … kMaxSkip frames of the channel.
constexpr std::size_t kMinCompress = 512;
constexpr unsigned kMaxSkip = 64;
/// Nonce of our own heartbeats; their answers are not reported.
constexpr std::uint64_t kHeartbeat = ~std::uint64_t{0};
constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 62;

Error broken(std::string what) { return Error(ErrorCode::protocol, std::move(what)); }

/// One frame to be sent, in one block of memory: room for the header, then up to `capacity` payload bytes.
struct Chunk {
  Chunk* next = nullptr;
  std::uint32_t capacity = 0;
  std::uint32_t size = 0;       // payload bytes
  std::uint32_t raw_size = 0;   // content bytes it stands for (differs from size when compressed)
  std::uint64_t offset = 0;     // of its first content byte
  bool fin = false;
  bool compressed = false;
  bool final_form = false;      // compression was tried; takes no more content

  std::byte* wire() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  std::byte* payload() noexcept { return wire() + kFrameHeader; }
  ByteView frame() noexcept { return {wire(), kFrameHeader + size}; }
};

/// Keeps a few blocks of three sizes, so that steady transfer neither allocates nor faults pages in.
class ChunkPool {
 public:
  explicit ChunkPool(std::uint32_t largest) : sizes_{1004, 16384, std::max<std::uint32_t>(largest, 16384)} {}
  ~ChunkPool() { trim(); }
  ChunkPool(const ChunkPool&) = delete;

  Chunk* get(std::size_t capacity) {
    for (std::size_t i = 0; i < 3; ++i) {
      if (capacity > sizes_[i]) continue;
      if (Chunk* chunk = free_[i]) {
        free_[i] = chunk->next;
        --count_[i];
        return new (chunk) Chunk{.capacity = sizes_[i]};
      }
      return make(sizes_[i]);
    }
    return make(capacity);
  }
  void put(Chunk* chunk) noexcept {
    for (std::size_t i = 0; i < 3; ++i) {
      if (chunk->capacity != sizes_[i] || count_[i] >= kKept) continue;
      chunk->next = free_[i];
      free_[i] = chunk;
      ++count_[i];
      return;
    }
    ::operator delete(chunk);
  }
  /// Gives everything back; for a session without streams.
  void trim() noexcept {
    for (std::size_t i = 0; i < 3; ++i) {
      while (Chunk* chunk = free_[i]) {
        free_[i] = chunk->next;
        ::operator delete(chunk);
      }
      count_[i] = 0;
    }
  }

 private:
  static constexpr std::size_t kKept = 4;
  static Chunk* make(std::size_t capacity) {
    void* memory = ::operator new(sizeof(Chunk) + kFrameHeader + capacity);
    return new (memory) Chunk{.capacity = static_cast<std::uint32_t>(capacity)};
  }
  std::uint32_t sizes_[3];
  Chunk* free_[3] = {};
  std::size_t count_[3] = {};
};

struct Stream;

/// The sending side of one channel. Everything queued lies within the peer's credit, so it only waits for the transport.
struct Tx {
  Stream* stream = nullptr;
  Tx* ready_next = nullptr;  // ring of channels with something queued
  Tx* ready_previous = nullptr;
  Chunk* head = nullptr;
  Chunk* tail = nullptr;
  Chunk* spare = nullptr;    // handed out by reserve()
  std::uint64_t offset = 0;  // bytes queued so far
  std::uint64_t credit = 0;  // absolute
  std::uint64_t queued = 0;
  Channel channel = Channel::in;
  bool fin = false;
  bool wants_writable = false;
  std::uint8_t skip = 0;       // frames not to try to compress
  std::uint8_t skip_next = 1;  // how many after the next failure
};

struct Rx {
  std::uint64_t received = 0;
  std::uint64_t granted = 0;  // absolute
  std::uint64_t consumed = 0;
  bool fin = false;
  bool credit_due = false;
};

std::size_t slot(Channel channel) noexcept { return channel == Channel::err ? 1 : 0; }

struct Stream {
  StreamId id = 0;
  StreamHandler* handler = nullptr;
  Tx tx[2];
  Rx rx[2];
  std::optional<protocol::End> end;  // agent: waits for queued DATA
  bool ended = false;                // agent: end() was called
  bool end_queued = false;           // agent: END is in the control lane
  bool cancelled = false;
};

}  // namespace

struct Session::Impl {
  Impl(Role role, Options options, SessionHandler& handler);
  ~Impl();

  // sending
  void control(FrameHeader header, ByteView payload = {});
  void say_hello(bool again);
  std::size_t control_pending() const noexcept { return control_.size() - control_position_; }
  Tx* tx_of(StreamId stream, Channel channel) noexcept;
  std::size_t writable(const Tx& tx) const noexcept;
  std::span<std::byte> room(Tx& tx, std::size_t max);
  void add(Tx& tx, std::size_t count, bool fin);
  void enqueue(Tx& tx) noexcept;
  void dequeue(Tx& tx) noexcept;
  void drop_queue(Tx& tx) noexcept;
  void prepare(Tx& tx);
  Chunk* pop(Tx& tx) noexcept;
  void number(Chunk* chunk);
  void left(Tx& tx);
  void wake(Tx& tx);
  void flush_credit();
  void flush_end(Stream& stream);
  void coalesce();
  void report_closed();
  void drained();
  /// Only HELLO may leave now.
  bool holding() const noexcept { return options_.hold_until_ready && !ready_; }
  bool may_send_data() const noexcept { return !options_.resumable || kept_bytes_ < options_.max_unacknowledged; }
  ByteView output();
  void sent(std::size_t count);

  // receiving
  Result<void> receive(ByteView in);
  Result<void> begin_frame();
  Result<void> begin_data();
  void deliver(ByteView part);
  Result<void> end_data(ByteView compressed);
  Result<void> handle(ByteView payload);
  Result<void> handle_hello(ByteView payload);
  Result<void> handle_open(ByteView payload);
  Result<void> acknowledge(std::uint64_t count, bool resuming);
  void count_frame();
  void grant(Stream& stream, Rx& rx, Channel channel);
  Stream* find(StreamId id) noexcept;
  bool closed_before(StreamId id) const noexcept { return id <= last_stream_; }

  void fail(const Error& error, bool tell_peer);

  Role role_;
  Options options_;
  SessionHandler& handler_;
  protocol::Hello peer_;
  bool ready_ = false;
  bool connected_ = true;
  std::optional<Error> error_;

  std::unordered_map<StreamId, std::unique_ptr<Stream>> streams_;
  Stream* latest_ = nullptr;  // of the last find()
  StreamId last_stream_ = 0;

  // Output. Frames in control_ are complete and in order; DATA waits in the channels until it is asked for.
  std::string control_;
  std::size_t control_position_ = 0;
  bool control_begun_ = false;      // what left was taken out: control_ may begin within a frame
  ChunkPool pool_;
  Tx* ready_tx_ = nullptr;     // next in the ring
  Chunk* current_ = nullptr;   // DATA frame that has begun to leave
  Tx* current_tx_ = nullptr;   // null when its stream is gone
  std::size_t current_position_ = 0;
  std::uint64_t current_number_ = 0;
  enum class Offered : std::uint8_t { nothing, control, current, next, again } offered_ = Offered::nothing;
  std::vector<StreamId> credit_due_;
  std::vector<StreamId> closed_;    // END is in control_; on_stream_closed is due
  std::vector<StreamId> undrained_;
  std::uint32_t max_data_ = 0;
  bool compress_ = false;
  protocol::Compressor compressor_;

  // Resume: frames of which the peer has not said that it has them, oldest first.
  std::deque<Chunk*> kept_;
  std::uint64_t kept_first_ = 0;  // number of kept_.front()
  std::uint64_t kept_bytes_ = 0;
  std::uint64_t numbered_ = 0;    // reliable frames that began to leave
  std::uint64_t again_ = 0;       // next frame to send again
  std::uint64_t again_end_ = 0;
  std::size_t again_position_ = 0;
  bool resuming_ = false;         // waits for the peer's RESUME

  // Input
  std::byte head_[kFrameHeader];
  std::size_t head_size_ = 0;
  bool in_frame_ = false;
  FrameHeader frame_;
  std::size_t frame_left_ = 0;
  std::string body_;
  Stream* data_stream_ = nullptr;  // of the DATA frame being received; null: dropped
  std::uint64_t skip_ = 0;         // leading bytes of it that arrived before a resume
  std::uint64_t partial_ = 0;      // content bytes of the interrupted frame that were delivered
  bool heard_hello_ = false;       // on this transport
  bool heard_resume_ = true;
  std::uint64_t received_frames_ = 0;
  std::uint64_t unacked_frames_ = 0, unacked_bytes_ = 0;
  protocol::Decompressor decompressor_;
  std::vector<std::byte> inflated_;

  // Time
  std::optional<core::TimePoint> last_tick_;
  bool heard_ = false;
  unsigned silent_ticks_ = 0;
};

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

// -- sending ------------------------------------------------------------------------------------------------------------

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

// -- receiving ----------------------------------------------------------------------------------------------------------

Stream* Session::Impl::find(StreamId id) noexcept {
  if (latest_ && latest_->id == id) return latest_;
  const auto it = streams_.find(id);
  if (it == streams_.end()) return nullptr;
  return latest_ = it->second.get();
}

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

// -- the surface --------------------------------------------------------------------------------------------------------

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

void Session::send_message(StreamId id, std::string message) {
  Stream* stream = impl_->find(id);
  if (!stream || stream->ended || message.size() > protocol::kMaxRequest) return;
  impl_->control({.type = FrameType::message, .stream = id}, as_bytes(message));
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
