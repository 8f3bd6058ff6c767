#include "link/link.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <optional>
#include <utility>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "session/endpoint.hpp"

namespace sandbox::link {
namespace {

using boost::asio::posix::stream_descriptor;

/// What one read may bring: two full DATA frames. Larger reads stop paying once the copy is longer than the call.
constexpr std::size_t kReadBuffer = 256 << 10;
/// A read that brought this much is followed by another without asking poll first: there is likely more.
constexpr std::size_t kBusyRead = 32 << 10;
/// Reads the reactor does in a row before other links get their turn.
constexpr int kReactorReads = 4;

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
  bool answered = false;
};

/// Sleeps until `stream` can be read or is broken (true), or can be written, or `wake` is readable, or `until` (false).
bool wait_for_stream(int stream, int wake, bool for_room, core::TimePoint until) {
  pollfd polled[2] = {{stream, static_cast<short>(POLLIN | (for_room ? POLLOUT : 0)), 0}, {wake, POLLIN, 0}};
  timespec timeout{};
  const bool bounded = until != core::TimePoint::max();
  if (bounded) {
    const auto now = core::SteadyClock::now();
    const auto left = until > now ? until - now : core::Duration::zero();
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
    timeout = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  }
  const int ready = ::ppoll(polled, 2, bounded ? &timeout : nullptr, nullptr);
  return ready > 0 && (polled[0].revents & ~POLLOUT) != 0;
}

}  // namespace

struct Link::Impl final : session::SessionHandler {
  Impl(std::unique_ptr<ByteStream> byte_stream, session::Options options, aio::Reactor& background,
       std::optional<crypto::SecureChannel> channel)
      : stream(std::move(byte_stream)),
        session(session::Role::client, std::move(options), *this),
        endpoint(channel ? session::Endpoint(session, *std::move(channel)) : session::Endpoint(session)),
        reactor(background) {}

  void on_pong(std::uint64_t nonce) override {
    for (Ping* ping : pings)
      if (ping->nonce == nonce) ping->answered = true;
  }

  // All members below: under Link::mutex_.

  /// Sends until the stream is full or nothing is left. A failed write does not end the session by itself: the peer's
  /// last words may still be there to read, and reading will find the end.
  void send_output() {
    while (!write_error) {
      const ByteView bytes = endpoint.output();
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
      endpoint.sent(*put);
    }
    blocked = false;
    // Sealing can fail, too (a channel used up): the session has ended then.
    if (session.failed() && !error) fail(Error(ErrorCode::unavailable, "the session ended while it was sending"));
  }

  void fail(const Error& why) {
    if (!error) error.emplace(why);
    else why.ignore("the session was over already");
    session.fail(why);
    stream->shut_down();
  }

  /// Feeds what was read. Ends the session when `got` is an error, or when nothing came from a stream that cannot be
  /// written any more.
  void take(const Result<std::size_t>& got, const ReadBuffer& buffer) {
    if (!got) {
      // For a sealed session the end must have been announced: otherwise somebody may have cut it off.
      if (endpoint.channel()) {
        if (auto ended = endpoint.finish(); !ended) {
          got.ignore("that the end was not announced is the worse news");
          return fail(ended.error());
        }
      }
      return fail(got.error());
    }
    if (*got == 0) {
      if (write_error) fail(*write_error);
      return;
    }
    if (auto fed = endpoint.receive(buffer.first(*got)); !fed) fail(fed.error());
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

  std::unique_ptr<ByteStream> stream;
  session::Session session;
  session::Endpoint endpoint;  ///< the session's bytes as they travel, sealed or not
  aio::Reactor& reactor;
  std::optional<Error> error;        ///< the session is over
  std::optional<Error> write_error;  ///< nothing can be sent any more
  bool blocked = false;              ///< output is left and the stream is full

  std::vector<Waiter*> waiters;
  Waiter* leader = nullptr;          ///< the waiter that reads
  std::optional<aio::Reactor::Wakeup> wakeup;  ///< of the leader
  bool polling = false;              ///< the leader is outside the lock
  bool polls_output = false;         ///< and waits for room to write too
  bool woken = false;                ///< and was woken already

  std::uint64_t attention = 0;
  std::optional<stream_descriptor> descriptor;  ///< registered only while needed: epoll would report every byte otherwise
  bool read_armed = false;
  bool write_armed = false;
  std::optional<boost::asio::steady_timer> timer;
  bool timer_armed = false;

  std::vector<Ping*> pings;
  std::uint64_t next_nonce = 1;
};

std::shared_ptr<Link> Link::make(std::unique_ptr<ByteStream> stream, session::Options options, aio::Reactor& reactor,
                                 std::optional<crypto::SecureChannel> channel) {
  return std::shared_ptr<Link>(
      new Link(std::make_unique<Impl>(std::move(stream), std::move(options), reactor, std::move(channel))));
}

Link::Link(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Link::~Link() {
  // The descriptor belongs to the stream, Asio only watches it.
  if (impl_->descriptor) impl_->descriptor->release();
  if (!impl_->error) impl_->fail(Error(ErrorCode::cancelled, "the connection was closed"));
  impl_->error->ignore("the link is gone");
  if (impl_->write_error) impl_->write_error->ignore("the link is gone");
}

session::Session& Link::session() noexcept { return impl_->session; }
aio::Reactor& Link::reactor() noexcept { return impl_->reactor; }
bool Link::on_reactor_thread() const noexcept { return impl_->reactor.on_this_thread(); }

bool Link::failed() const {
  std::lock_guard lock(mutex_);
  return impl_->error.has_value();
}

void Link::flush(std::unique_lock<std::mutex>&) {
  impl_->send_output();
  if (!impl_->waiters.empty()) impl_->tell_waiters(nullptr);
  if (!impl_->blocked) return;
  // Somebody has to send the rest: the thread that reads, or else the reactor.
  if (impl_->leader) {
    if (!impl_->polls_output) impl_->wake_leader();
  } else {
    arm();
  }
}

void Link::close(const Error& error) {
  std::lock_guard lock(mutex_);
  if (impl_->error) return error.ignore("the session was over already");
  impl_->fail(error);
  impl_->tell_waiters(nullptr);
  let_go();
}

/// Closes the stream of a session that is over, unless the leader polls it: it comes here itself.
void Link::let_go() {
  Impl& impl = *impl_;
  if (!impl.error || impl.polling) return;
  arm();  // takes it from the reactor
  impl.stream->close();
}

Result<protocol::Hello> Link::handshake(core::TimePoint deadline) {
  with([](session::Session&) {});  // our own hello
  SANDBOX_TRY(const bool ready, wait_until([this] { return impl_->session.ready(); }, deadline));
  if (!ready) return Error(ErrorCode::deadline_exceeded, "no hello from the agent").with_operation("link.handshake");
  std::lock_guard lock(mutex_);
  return impl_->session.peer();
}

Result<core::Duration> Link::ping(core::TimePoint deadline) {
  if (on_reactor_thread()) return Error(ErrorCode::failed_precondition, "a blocking call on the reactor thread");
  Ping ping;
  const auto start = core::SteadyClock::now();
  with([&](session::Session& session) {
    ping.nonce = impl_->next_nonce++;
    impl_->pings.push_back(&ping);
    session.ping(ping.nonce);
  });
  auto answered = wait_until([&] { return ping.answered; }, deadline);
  {
    std::lock_guard lock(mutex_);
    std::erase(impl_->pings, &ping);
  }
  if (!answered) return std::move(answered).error();
  if (!*answered) return Error(ErrorCode::deadline_exceeded, "the agent did not answer a ping").with_operation("link.ping");
  return core::SteadyClock::now() - start;
}

// ---- blocking callers -------------------------------------------------------------------------------------------------

Result<bool> Link::wait_erased(bool (*done)(void*), void* context, core::TimePoint deadline) {
  if (on_reactor_thread()) {
    return Error(ErrorCode::failed_precondition, "a blocking call on the reactor thread would wait for itself; use the async_ form");
  }
  std::unique_lock lock(mutex_);
  Impl& impl = *impl_;
  Waiter self{done, context, {}};
  impl.waiters.push_back(&self);
  std::optional<Result<bool>> outcome;
  while (!outcome) {
    const bool holds = done(context);
    impl.send_output();
    if (holds) {
      outcome.emplace(true);
    } else if (impl.error) {
      outcome.emplace(*impl.error);
    } else if (core::SteadyClock::now() >= deadline) {
      outcome.emplace(false);
    } else if (!impl.leader) {
      impl.leader = &self;
      outcome = lead(lock, done, context, deadline);
      impl.leader = nullptr;
    } else {
      if (impl.blocked && !impl.polls_output) impl.wake_leader();  // it must wait for room as well
      if (deadline == core::TimePoint::max()) self.changed.wait(lock);
      else self.changed.wait_until(lock, deadline);
    }
  }
  std::erase(impl.waiters, &self);
  hand_over();
  return *std::move(outcome);
}

std::optional<Result<bool>> Link::lead(std::unique_lock<std::mutex>& lock, bool (*done)(void*), void* context,
                                       core::TimePoint deadline) {
  Impl& impl = *impl_;
  auto wakeup = impl.reactor.wakeup();
  if (!wakeup) return Result<bool>(std::move(wakeup).error());
  impl.wakeup.emplace(*std::move(wakeup));

  std::optional<Result<bool>> outcome;
  bool likely_more = false;
  while (!outcome) {
    // Outside the lock: wait for bytes, for room or for somebody's wake-up, then read.
    const auto until = std::min(deadline, impl.session.next_tick());
    const bool for_room = impl.polls_output = impl.blocked;
    const int fd = impl.stream->fd(), wake_fd = impl.wakeup->fd();
    impl.polling = true;
    lock.unlock();
    bool readable = likely_more;
    if (!readable) readable = wait_for_stream(fd, wake_fd, for_room, until);
    Result<std::size_t> got = std::size_t{0};
    ReadBuffer buffer;
    if (readable) got = impl.stream->read_some(buffer.take());
    lock.lock();
    impl.polling = false;
    if (std::exchange(impl.woken, false)) impl.wakeup->drain();

    // After a bulk read the next one goes without poll; when that finds nothing, poll decides whether there is an end.
    if (readable && !(likely_more && got && *got == 0)) impl.take(got, buffer);
    likely_more = got && *got >= kBusyRead;
    const auto now = core::SteadyClock::now();
    if (now >= impl.session.next_tick()) impl.session.tick(now);
    if (impl.session.failed() && !impl.error) impl.fail(Error(ErrorCode::unavailable, "the agent stopped answering"));
    impl.tell_waiters(impl.leader);
    const bool holds = done(context);
    impl.send_output();
    if (holds) outcome.emplace(true);
    else if (impl.error) outcome.emplace(*impl.error);
    else if (now >= deadline) outcome.emplace(false);
  }
  impl.wakeup.reset();
  impl.polls_output = false;
  let_go();
  return outcome;
}

void Link::hand_over() {
  Impl& impl = *impl_;
  if (impl.leader) return;
  // Any waiter will do: whoever wakes up and finds nobody reading takes over, so a candidate that leaves at the same
  // moment passes the role on from here.
  if (!impl.waiters.empty()) impl.waiters.front()->changed.notify_one();
  else arm();
}

// ---- the reactor --------------------------------------------------------------------------------------------------------

void Link::arm() {
  Impl& impl = *impl_;
  const bool wants_read = impl.attention > 0 && !impl.error;
  const bool wants_write = impl.blocked && !impl.write_error && !impl.error;
  if (!wants_read && !wants_write) {
    if (impl.descriptor) {
      impl.descriptor->release();  // aborts what was armed
      impl.descriptor.reset();
      impl.read_armed = impl.write_armed = false;
    }
    return;
  }
  if (!impl.descriptor) impl.descriptor.emplace(impl.reactor.context(), impl.stream->fd());
  if (wants_read && !impl.read_armed) {
    impl.read_armed = true;
    impl.descriptor->async_wait(stream_descriptor::wait_read, [weak = weak_from_this()](boost::system::error_code error) {
      if (error) return;
      if (auto self = weak.lock()) self->on_reactor(true);
    });
  }
  if (wants_write && !impl.write_armed) {
    impl.write_armed = true;
    impl.descriptor->async_wait(stream_descriptor::wait_write, [weak = weak_from_this()](boost::system::error_code error) {
      if (error) return;
      if (auto self = weak.lock()) self->on_reactor(false);
    });
  }
  const auto tick = impl.session.next_tick();
  if (wants_read && tick != core::TimePoint::max() && !impl.timer_armed) {
    impl.timer_armed = true;
    if (!impl.timer) impl.timer.emplace(impl.reactor.context());
    impl.timer->expires_at(tick);
    impl.timer->async_wait([weak = weak_from_this()](boost::system::error_code error) {
      if (error) return;
      if (auto self = weak.lock()) self->on_tick();
    });
  }
}

void Link::on_reactor(bool readable) {
  std::lock_guard lock(mutex_);
  Impl& impl = *impl_;
  (readable ? impl.read_armed : impl.write_armed) = false;
  // A blocking caller reads and writes faster than we do; it arms us again when it leaves.
  if (!impl.waiters.empty()) return;
  if (readable && impl.attention > 0 && !impl.error) {
    ReadBuffer buffer;
    for (int i = 0; i < kReactorReads && !impl.error; ++i) {
      const auto got = impl.stream->read_some(buffer.take());
      impl.take(got, buffer);
      if (!got || *got < kBusyRead) break;
    }
  }
  impl.send_output();
  if (impl.error) let_go();
  else arm();
}

void Link::on_tick() {
  std::lock_guard lock(mutex_);
  Impl& impl = *impl_;
  impl.timer_armed = false;
  if (impl.error) return;
  const auto now = core::SteadyClock::now();
  if (now >= impl.session.next_tick()) impl.session.tick(now);
  if (impl.session.failed()) impl.fail(Error(ErrorCode::unavailable, "the agent stopped answering"));
  impl.tell_waiters(nullptr);
  if (impl.waiters.empty()) arm();
}

Link::Attention::Attention(std::shared_ptr<Link> link) : link_(std::move(link)) {
  std::lock_guard lock(link_->mutex_);
  ++link_->impl_->attention;
  if (link_->impl_->waiters.empty()) link_->arm();
}

Link::Attention::~Attention() {
  std::lock_guard lock(link_->mutex_);
  --link_->impl_->attention;
  if (link_->impl_->waiters.empty()) link_->arm();
}

}  // namespace sandbox::link
