#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include <sandbox/result.hpp>

#include "aio/reactor.hpp"
#include "core/clock.hpp"
#include "core/unique_fd.hpp"
#include "crypto/secure_channel.hpp"
#include "session/session.hpp"

/// A session joined to its byte stream, for many threads at once. Whoever waits, reads: a thread blocked in
/// wait_until() takes the reading role, feeds the session and wakes the others; the reactor thread reads only while
/// asynchronous operations are outstanding (Link::Attention). A blocking call therefore costs no thread switch on this
/// side, and a stream nobody waits for is not read, which is the backpressure. See docs/adr/0003-whoever-waits-reads.md.
namespace sandbox::link {

/// A non-blocking byte stream: a socketpair here, a WebSocket later. Called under the link's lock or by its reader.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Reads what is there; 0: would block. Errors: unavailable at end of stream.
  virtual Result<std::size_t> read_some(std::span<std::byte> buffer) = 0;
  /// Writes what fits; 0: would block.
  virtual Result<std::size_t> write_some(ByteView bytes) = 0;
  /// Pollable descriptor: readable when read_some may make progress, writable likewise.
  virtual int fd() const noexcept = 0;
  /// Makes blocked and later reads and writes fail. Thread-safe.
  virtual void shut_down() noexcept = 0;
  /// Gives the descriptor back; nobody polls it any more. Later reads and writes fail.
  virtual void close() noexcept = 0;
  /// As shut_down(), but without a word to the peer, as if the line had been cut: it is to keep what it has.
  virtual void drop() noexcept { shut_down(); }
  /// read_some may have more although fd() is not readable: it was read ahead (TLS).
  virtual bool pending() const noexcept { return false; }
};

/// The stream over a connected, non-blocking socket.
std::unique_ptr<ByteStream> socket_stream(core::UniqueFd socket);

/// A connected transport: the stream and, for a sealed session, the seal of this connection (the connecting end).
struct Transport {
  std::unique_ptr<ByteStream> stream;
  std::optional<crypto::SecureChannel> channel;
};

/// How a link gets a transport, and another one when it lost that. The session survives: nothing is lost or doubled, and
/// operations wait meanwhile, up to `window`.
struct Reconnect {
  using Done = std::function<void(Result<Transport>)>;
  /// Begins to connect and returns at once; must not block. `known`: what the agent has shown before; a sealed transport
  /// must show it again. `done` is called once, by any thread, but not by dial() itself. Errors: unavailable,
  /// deadline_exceeded, resource_exhausted and internal are tried again; failed_precondition, too, and without an end: the
  /// peer stands still (it is paused). The others end the link.
  std::function<void(core::TimePoint deadline, std::optional<Fingerprint> known, Done done)> dial;
  core::Duration window = std::chrono::seconds(30);        ///< how long to try; zero: a lost transport ends the link
  core::Duration dial_timeout = std::chrono::seconds(5);   ///< of one try
  core::Duration first_pause = std::chrono::milliseconds(10);  ///< between the second and the third; then doubled
  core::Duration longest_pause = std::chrono::seconds(1);
};

class Link : public std::enable_shared_from_this<Link> {
 public:
  /// `reactor` must outlive the link. With a `channel` (the connecting end) every byte is sealed by it.
  static std::shared_ptr<Link> make(std::unique_ptr<ByteStream> stream, session::Options options, aio::Reactor& reactor,
                                    std::optional<crypto::SecureChannel> channel = std::nullopt);
  /// A link that connects by itself, now and whenever its transport is lost. `options.resumable` and `hold_until_ready`
  /// are set. Give it a heartbeat: nobody else notices that an idle transport died.
  static std::shared_ptr<Link> make(Reconnect reconnect, session::Options options, aio::Reactor& reactor);
  ~Link();

  /// Waits for the peer's hello. Errors: deadline_exceeded, unavailable, protocol.
  Result<protocol::Hello> handshake(core::TimePoint deadline);
  /// One round trip that overtakes bulk data. Errors: deadline_exceeded, unavailable.
  Result<core::Duration> ping(core::TimePoint deadline);

  /// Of the agent at the other end of a sealed link, which proved it; waits for the handshake. Errors:
  /// failed_precondition (not sealed), deadline_exceeded, unavailable, unauthenticated.
  Result<Fingerprint> fingerprint(core::TimePoint deadline);
  /// How many times a lost transport was replaced, and a session that the agent had forgotten begun anew.
  std::uint64_t reconnects() const;
  std::uint64_t renewals() const;
  /// Whatever kept the peer away is over: the next try is made now, and the pauses behind it are short ones again.
  void hurry();

  /// Runs `action(session)` under the lock, then sends what it produced. Never blocks on the peer: what the stream does
  /// not take now is sent by whoever waits next, or by the reactor. Not to be called from a handler or a done().
  template <class Action>
  auto with(Action&& action) {
    std::unique_lock lock(mutex_);
    if constexpr (std::is_void_v<decltype(action(session()))>) {
      action(session());
      flush(lock);
    } else {
      auto result = action(session());
      flush(lock);
      return result;
    }
  }

  /// Blocks until `done()` or `deadline` (TimePoint::max(): none), reading and writing meanwhile. Returns whether done()
  /// held. done() is evaluated under the lock after every change, by any thread, and may use the session (send more of a
  /// buffer, say); once true it stays true or has no side effect. Errors: unavailable or protocol when the session is
  /// over and done() does not hold; failed_precondition on the reactor thread, which would wait for itself.
  template <class Done>
  Result<bool> wait_until(Done&& done, core::TimePoint deadline) {
    return wait_erased([](void* context) { return (*static_cast<std::remove_reference_t<Done>*>(context))(); }, &done, deadline);
  }

  /// Before an asynchronous operation is left to the reactor: reads on this thread for a moment (about 100 µs, the first 50
  /// without sleeping where that pays), if nobody else reads or waits for this link and answers have come that fast lately.
  /// Returns whether `done()`, as above, holds. An answer that is near then costs one thread switch or none.
  template <class Done>
  bool look(Done&& done) {
    return look_erased([](void* context) { return (*static_cast<std::remove_reference_t<Done>*>(context))(); }, &done);
  }

  /// While one lives, the reactor reads this link: asynchronous operations hold one each. Not to be made or destroyed in
  /// a handler (the lock is held there); operations post themselves to the reactor first.
  class Attention {
   public:
    explicit Attention(std::shared_ptr<Link> link);
    ~Attention();
    Attention(const Attention&) = delete;

   private:
    std::shared_ptr<Link> link_;
  };

  /// Ends the session with `error` (handlers get on_lost) and closes the stream: at once, or when a thread that just
  /// polls it has left it. Idempotent, thread-safe.
  void close(const Error& error);
  bool failed() const;
  /// Why the session is over; nothing while it is not.
  std::optional<Error> error() const;
  /// Whether it connects by itself, see Reconnect.
  bool reconnects_by_itself() const noexcept;
  /// Whether the caller is the reactor thread, where nothing may block.
  bool on_reactor_thread() const noexcept;
  aio::Reactor& reactor() noexcept;

 private:
  struct Impl;
  explicit Link(std::unique_ptr<Impl> impl);
  session::Session& session() noexcept;
  void flush(std::unique_lock<std::mutex>& lock);
  Result<bool> wait_erased(bool (*done)(void*), void* context, core::TimePoint deadline);
  bool look_erased(bool (*done)(void*), void* context);
  std::optional<Result<bool>> lead(std::unique_lock<std::mutex>& lock, bool (*done)(void*), void* context,
                                   core::TimePoint deadline, core::Duration first_look = core::Duration::zero());
  void hand_over();
  void let_go();
  void arm();
  void disarm();
  void on_reactor(bool readable);
  void on_tick();
  void dial(bool rested);
  void dialled(std::uint64_t attempt, Result<Transport> got);
  void install(Transport transport);

  mutable std::mutex mutex_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::link
