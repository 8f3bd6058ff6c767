#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

#include "core/clock.hpp"
#include "protocol/messages.hpp"

/// One v2 session over one byte stream, seen from one end. Sans-I/O: owns no socket, thread or clock. Feed it what
/// arrived, send what it offers. Not thread-safe: the owner serialises calls (lib/link does for the host, the agent is
/// single-threaded). Rules of the wire: docs/PROTOCOL.md.
namespace sandbox::session {

enum class Role : std::uint8_t { client, agent };
enum class Channel : std::uint8_t { in = 0, out = 1, err = 2 };
using StreamId = std::uint32_t;

/// What one end of one stream is told. Called from inside Session members; may call the Session back, except
/// receive(), output() and sent(); must not block. The handler must outlive its stream or be detached.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  /// A structured message of the method (client and agent). `message` ends with the call.
  virtual void on_message(ByteView message) { (void)message; }
  /// Content of `channel`, in order, without gaps. `fin`: nothing follows on this channel. The view ends with the call.
  /// Nobody sends more until consumed() gives the credit back.
  virtual void on_data(Channel channel, ByteView data, bool fin) { (void)channel, (void)data, (void)fin; }
  /// send() can take more on `channel` again. Called only after it took less than asked.
  virtual void on_writable(Channel channel) { (void)channel; }
  /// Messages queued earlier left; can_message() holds again. Called only after it did not.
  virtual void on_drained() {}
  /// Agent: the client wants this stream to end soon; answer with end().
  virtual void on_cancel() {}
  /// Client: the terminal record. Last call for this stream; all data came before.
  virtual void on_end(const protocol::End& end) { (void)end; }
  /// The session is over for good; no END will come. Last call for this stream.
  virtual void on_lost(const Error& error) { (void)error; }
};

/// What the owner of a session is told.
class SessionHandler {
 public:
  virtual ~SessionHandler() = default;
  /// The peer's hello arrived and was accepted; operations may start.
  virtual void on_ready(const protocol::Hello& peer) { (void)peer; }
  /// Agent: a client opened `stream`. Returns the handler (not owned), or null after calling end() itself.
  virtual StreamHandler* on_open(StreamId stream, protocol::Method method, ByteView params,
                                 std::string_view idempotency_key) {
    (void)stream, (void)method, (void)params, (void)idempotency_key;
    return nullptr;
  }
  /// Agent: end() was called for `stream` and its last byte was handed to output(); the handler may be freed now.
  virtual void on_stream_closed(StreamId stream) { (void)stream; }
  /// The peer answered ping(`nonce`).
  virtual void on_pong(std::uint64_t nonce) { (void)nonce; }
};

struct Options {
  std::string software;
  std::uint64_t window = 1 << 20;         ///< credit this end gives on each channel
  std::uint32_t max_frame = 1 << 20;      ///< largest frame payload this end accepts
  std::uint32_t max_data = 128 << 10;     ///< DATA payload per frame this end sends
  std::uint64_t send_queue = 256 << 10;   ///< bytes send() queues per channel beyond what is on its way
  std::uint32_t max_streams = 4096;       ///< open at a time; agent answers resource_exhausted beyond
  bool resumable = false;                 ///< keep unacknowledged frames so that resume() is possible
  std::uint64_t max_unacknowledged = 8 << 20;  ///< resumable: bytes kept; output() pauses when full
  bool compress = false;                  ///< offer zstd for DATA (wide-area links)
  StreamId first_stream = 1;              ///< client: number of the first stream
  bool hold_until_ready = false;          ///< client: nothing but HELLO leaves before the peer's HELLO came, so that a
                                          ///< transport lost until then costs nothing: resume() then begins anew
  core::Duration heartbeat = {};          ///< PING when silent that long; dead after three. Zero: none
  protocol::Hello hello;                  ///< extra hello fields (facts, session_id)
};

class Session {
 public:
  Session(Role role, Options options, SessionHandler& handler);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  // -- bytes -------------------------------------------------------------------------------------------------------
  /// Bytes from the peer, in any fragmentation. An error ends the session (every handler got on_lost).
  Result<void> receive(ByteView bytes);
  /// The next bytes to send, contiguous; empty when there are none. Control frames come before DATA, DATA of several
  /// streams takes turns. Valid until the next call of any member.
  ByteView output();
  /// The first `count` bytes of output() were taken by the transport.
  void sent(std::size_t count);
  /// Ends the session: every stream's handler gets on_lost(error). Idempotent.
  void fail(const Error& error);
  bool failed() const noexcept;

  // -- time --------------------------------------------------------------------------------------------------------
  /// When tick() wants to be called next; TimePoint::max() for never.
  core::TimePoint next_tick() const noexcept;
  void tick(core::TimePoint now);
  /// The peer did not answer three heartbeats. A session that can be resumed is not ended by that: its transport is as
  /// good as lost, see disconnected().
  bool silent() const noexcept;

  // -- resume (resumable sessions) ----------------------------------------------------------------------------------
  /// The transport is gone; keep state and wait for resume(). Streams stay open.
  void disconnected();
  /// A new transport is connected: says hello again with what was received; both ends send again what the other missed.
  Result<void> resume();

  // -- operations --------------------------------------------------------------------------------------------------
  bool ready() const noexcept;                   ///< peer's hello was accepted
  /// There is a transport and, on it, the peer said where it stands: everything may leave now.
  bool online() const noexcept;
  const protocol::Hello& peer() const noexcept;  ///< valid when ready()
  /// Client: opens a stream. The OPEN is queued even before ready(). `handler` as in StreamHandler.
  /// When it cannot be (session failed, params beyond kMaxRequest, numbers used up) the handler gets on_lost or on_end
  /// before this returns 0.
  StreamId open(protocol::Method method, std::string params, StreamHandler* handler, std::string idempotency_key = {});
  /// Queues content; takes what credit and queue allow and returns how much (may be 0; then on_writable follows).
  /// `fin` counts only when all of `data` was taken.
  std::size_t send(StreamId stream, Channel channel, ByteView data, bool fin = false);
  /// How much send() would take now.
  std::size_t writable(StreamId stream, Channel channel) const noexcept;
  /// The same without a copy: room for at most `max` bytes, in place (empty: none now; on_writable follows). Fill some of
  /// it and commit() before any other call on this session.
  std::span<std::byte> reserve(StreamId stream, Channel channel, std::size_t max);
  void commit(StreamId stream, Channel channel, std::size_t count, bool fin = false);
  /// A structured message; overtakes queued DATA of the same stream. Dropped when the stream is gone: its handler knows.
  /// Errors: invalid_argument (client), resource_exhausted (agent): beyond kMaxRequest; nothing was sent and the stream
  /// goes on.
  Result<void> send_message(StreamId stream, std::string message);
  /// Whether little enough is queued that more messages should be made now; otherwise on_drained(stream) follows.
  /// Whoever makes many messages (listings, events) must ask: messages have no credit.
  bool can_message(StreamId stream);
  /// `count` bytes given to on_data were used up; lets the peer send as many more.
  void consumed(StreamId stream, Channel channel, std::size_t count);
  /// Client: asks the agent to end the stream. on_end still follows.
  void cancel(StreamId stream);
  /// Client: the handler goes away now; what still comes is dropped (and credit returned). Does not cancel.
  void detach(StreamId stream);
  /// Agent: terminal record, sent after all queued DATA of the stream.
  void end(StreamId stream, protocol::End end);
  void ping(std::uint64_t nonce);
  std::size_t open_streams() const noexcept;
  StreamId last_stream() const noexcept;         ///< the highest number used

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// END of a failed operation.
protocol::End end_of(const Error& error);
/// The Error in `end` (code != 0), with origin guest.
Error error_of(const protocol::End& end);

}  // namespace sandbox::session
