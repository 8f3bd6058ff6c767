#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "protocol/frame.hpp"
#include "protocol/zstd.hpp"
#include "session/chunk.hpp"
#include "session/session.hpp"

/// What a session consists of: its streams and its two directions (sending.cpp, receiving.cpp).
namespace sandbox::session {

using protocol::FrameHeader;
using protocol::FrameType;
using protocol::kFrameHeader;

/// can_message() turns false above the first and on_drained() comes below the second; bytes of queued control frames.
inline constexpr std::size_t kControlHigh = 256 << 10;
inline constexpr std::size_t kControlLow = 64 << 10;
/// Nonce of our own heartbeats; their answers are not reported.
inline constexpr std::uint64_t kHeartbeat = ~std::uint64_t{0};
inline constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 62;

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

inline std::size_t slot(Channel channel) noexcept { return channel == Channel::err ? 1 : 0; }

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

inline Stream* Session::Impl::find(StreamId id) noexcept {
  if (latest_ && latest_->id == id) return latest_;
  const auto it = streams_.find(id);
  if (it == streams_.end()) return nullptr;
  return latest_ = it->second.get();
}

}  // namespace sandbox::session
