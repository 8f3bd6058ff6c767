#pragma once

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core/eagerness.hpp"
#include "link/link.hpp"
#include "session/endpoint.hpp"

/// What a Link consists of. Only for the .cpp files of this folder.
namespace sandbox::link {

using boost::asio::posix::stream_descriptor;

/// What one read may bring: two full DATA frames. Larger reads stop paying once the copy is longer than the call.
inline constexpr std::size_t kReadBuffer = 256 << 10;

/// Room for one read. Taken when something has arrived and given back when it was dealt with, so that neither an idle link
/// nor one that waits holds any: a thousand sandboxes share the few that are in use at a time.
class ReadBuffer {
 public:
  ReadBuffer() noexcept = default;
  ReadBuffer(const ReadBuffer&) = delete;
  ~ReadBuffer() {
    if (!memory_) return;
    std::lock_guard lock(shelf().mutex);
    if (shelf().count < kKept) shelf().free[shelf().count++] = std::move(memory_);
  }
  std::span<std::byte> take() {
    if (!memory_) {
      std::lock_guard lock(shelf().mutex);
      if (shelf().count > 0) memory_ = std::move(shelf().free[--shelf().count]);
    }
    if (!memory_) memory_.reset(new std::byte[kReadBuffer]);
    return {memory_.get(), kReadBuffer};
  }
  ByteView first(std::size_t count) const noexcept { return {memory_.get(), count}; }

 private:
  static constexpr std::size_t kKept = 4;
  struct Shelf {
    std::mutex mutex;
    std::unique_ptr<std::byte[]> free[kKept];
    std::size_t count = 0;
  };
  /// Never destroyed: links may outlive static objects.
  static Shelf& shelf() {
    static Shelf& only = *new Shelf;
    return only;
  }
  std::unique_ptr<std::byte[]> memory_;
};

struct Waiter {
  bool (*done)(void*);
  void* context;
  std::condition_variable changed;
};

struct Ping {
  std::uint64_t nonce = 0;
  bool sent = false;  ///< on the transport there is now
  bool answered = false;
};

struct Link::Impl final : session::SessionHandler {
  Impl(session::Options session_options, aio::Reactor& background, std::optional<Reconnect> how)
      : options(std::move(session_options)), session(session::Role::client, options, *this), reactor(background), reconnect(std::move(how)) {}
  ~Impl() {
    if (write_error) write_error->ignore("the link is gone");
  }

  void on_pong(std::uint64_t nonce) override {
    for (Ping* ping : pings)
      if (ping->nonce == nonce) ping->answered = true;
  }

  // All members below: under Link::mutex_.

  /// Sends until the stream is full or nothing is left. A failed write does not end the session by itself: the peer's
  /// last words may still be there to read, and reading will find the end.
  void send_output() {
    if (down) return;
    while (!write_error) {
      const ByteView bytes = endpoint->output();
      if (bytes.empty()) break;
      auto put = stream->write_some(bytes);
      if (!put) {
        write_error.emplace(std::move(put).error());
        break;
      }
      if (*put == 0) {
        blocked = true;
        return;
      }
      endpoint->sent(*put);
      moved += *put;
    }
    blocked = false;
    // Sealing can fail, too (a channel used up): the session has ended then.
    if (session.failed() && !error) fail(Error(ErrorCode::unavailable, "the session ended while it was sending"));
  }

  void fail(const Error& why) {
    if (!error) error.emplace(why);
    else why.ignore("the session was over already");
    session.fail(why);
    // An agent that would keep the session for a client that comes back is told that none does.
    if (reconnect) say_last_words();
    if (stream) stream->shut_down();
  }
  void say_last_words();

  /// The transport is gone, as `why` says: the session waits for another one, or ends.
  void lose(const Error& why);
  /// The agent does not know the session any more: what ran in it is lost, what comes next has a new one.
  void renew(const Error& why);
  void lengthen_pause();
  void dial_soon();
  void allow_time();
  void read_now();
  void send_pings();

  /// Feeds what was read. Loses the transport when `got` is an error, or when nothing came from a stream that cannot be
  /// written any more.
  void take(const Result<std::size_t>& got, const ReadBuffer& buffer) {
    if (!got) {
      // For a sealed session the end must have been announced: otherwise somebody may have cut it off.
      if (endpoint->channel()) {
        if (auto ended = endpoint->finish(); !ended) {
          got.ignore("that the end was not announced is the worse news");
          return lose(ended.error());
        }
      }
      return lose(got.error());
    }
    if (*got == 0) {
      if (write_error) lose(*write_error);
      return;
    }
    // Until the agent has said where it stands, an agent that forgot us may also just find our words out of place.
    const bool resuming = reconnect && session.ready() && !session.online();
    if (auto fed = endpoint->receive(buffer.first(*got)); !fed) {
      const ErrorCode code = fed.error().code();
      if (reconnect && (code == ErrorCode::unavailable || (resuming && code == ErrorCode::protocol))) renew(fed.error());
      else fail(fed.error());
      return;
    }
    if (reconnect) {
      if (!pings.empty()) send_pings();
      if (!seen && endpoint->channel() && endpoint->channel()->established()) seen = endpoint->channel()->fingerprint();
    }
  }

  /// Time for heartbeats and what follows from them.
  void tick(core::TimePoint now) {
    if (down || now < session.next_tick()) return;
    session.tick(now);
    if (session.failed() && !error) fail(Error(ErrorCode::unavailable, "the agent stopped answering"));
    else if (session.silent()) lose(Error(ErrorCode::unavailable, "the connection is silent"));
  }

  /// Tells every other waiter what it now has. A done() may queue output, so sending comes after.
  void tell_waiters(const Waiter* except) {
    for (Waiter* waiter : waiters) {
      if (waiter == except || !(error || waiter->done(waiter->context))) continue;
      if (waiter == leader) wake_leader();
      else waiter->changed.notify_one();
    }
    send_output();
  }

  void wake_leader() {
    if (!polling || woken) return;
    woken = true;
    wakeup->wake();
  }

  const session::Options options;
  std::unique_ptr<ByteStream> stream;
  session::Session session;
  std::optional<session::Endpoint> endpoint;  ///< the session's bytes as they travel, sealed or not
  aio::Reactor& reactor;
  std::optional<Error> error;        ///< the session is over
  std::optional<Error> write_error;  ///< nothing can be sent any more on this transport
  bool blocked = false;              ///< output is left and the stream is full

  std::vector<Waiter*> waiters;
  Waiter* leader = nullptr;          ///< the waiter that reads
  std::optional<aio::Reactor::Wakeup> wakeup;  ///< of the leader
  bool polling = false;              ///< the leader is outside the lock
  bool polls_output = false;         ///< and waits for room to write too
  bool woken = false;                ///< and was woken already
  std::size_t moved = 0;             ///< bytes sent and read since the leader last waited
  core::Eagerness eagerness;               ///< the leader's
  core::Eagerness patience;                ///< of look(): whether the whole of it pays

  std::uint64_t attention = 0;
  std::optional<stream_descriptor> descriptor;  ///< registered while needed and shortly after: epoll would report every byte otherwise
  bool read_armed = false;
  bool write_armed = false;
  std::optional<boost::asio::steady_timer> timer;
  bool timer_armed = false;

  std::vector<Ping*> pings;
  std::uint64_t next_nonce = 1;

  // A link that connects by itself.
  const std::optional<Reconnect> reconnect;
  std::weak_ptr<Link> self;
  bool down = false;                      ///< there is no transport; one is being sought
  bool begun = false;                     ///< the session has had a transport
  std::uint64_t attempt = 0;              ///< number of the dial() that is under way
  std::optional<Transport> next;          ///< came while the leader still held the old one
  core::TimePoint give_up_at{};
  core::TimePoint connected_at{};
  core::Duration pause{};                 ///< before the next try
  std::optional<boost::asio::steady_timer> retry;
  std::optional<Fingerprint> seen;        ///< what the agent showed first
  std::uint64_t reconnects = 0, renewals = 0;
};

}  // namespace sandbox::link
