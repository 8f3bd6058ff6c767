#include "link/link.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

#include <boost/asio/post.hpp>

#include "link/link_impl.hpp"

namespace sandbox::link {
namespace {

/// A read that brought this much is followed by another without asking poll first: there is likely more.
constexpr std::size_t kBusyRead = 32 << 10;
/// What look() gives an answer, behind a short look asleep: that costs one thread switch where the reactor's way costs two, and
/// makes nearly all answers of a busy machine come in time. An event loop is late by so much, or by a long look, at most.
constexpr auto kPatience = std::chrono::microseconds(100);
/// Reads the reactor does in a row before other links get their turn.
constexpr int kReactorReads = 4;

/// Sleeps until `stream` can be read or is broken (true), or can be written, or `wake` is readable, or `until` (false).
/// Looks for `look` first; `looked` learns whether that was enough.
bool wait_for_stream(int stream, int wake, bool for_room, core::TimePoint until, core::Eagerness::Time look, bool& looked) {
  pollfd polled[2] = {{stream, static_cast<short>(POLLIN | (for_room ? POLLOUT : 0)), 0}, {wake, POLLIN, 0}};
  int ready = 0;
  if (look > look.zero()) {
    const auto end = std::min(until, core::SteadyClock::now() + look);
    do ready = ::poll(polled, 2, 0);
    while (ready == 0 && core::SteadyClock::now() < end);
  }
  looked = ready > 0;
  timespec timeout{};
  const bool bounded = until != core::TimePoint::max();
  if (bounded && ready == 0) {
    const auto now = core::SteadyClock::now();
    const auto left = until > now ? until - now : core::Duration::zero();
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
    timeout = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  }
  if (ready == 0) ready = ::ppoll(polled, 2, bounded ? &timeout : nullptr, nullptr);
  return ready > 0 && (polled[0].revents & ~POLLOUT) != 0;
}

}  // namespace

std::shared_ptr<Link> Link::make(std::unique_ptr<ByteStream> stream, session::Options options, aio::Reactor& reactor,
                                 std::optional<crypto::SecureChannel> channel) {
  auto impl = std::make_unique<Impl>(std::move(options), reactor, std::nullopt);
  impl->stream = std::move(stream);
  if (channel) impl->endpoint.emplace(impl->session, *std::move(channel));
  else impl->endpoint.emplace(impl->session);
  return std::shared_ptr<Link>(new Link(std::move(impl)));
}

Link::Link(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Link::~Link() {
  // The descriptor belongs to the stream, Asio only watches it.
  if (impl_->descriptor) impl_->descriptor->release();
  if (!impl_->error) impl_->fail(Error(ErrorCode::cancelled, "the connection was closed"));
  impl_->error->ignore("the link is gone");
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
  if (impl.stream) impl.stream->close();
  impl.next.reset();
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
    if (impl_->reconnect) return impl_->send_pings();  // a lost one is sent again
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
    } else if (!impl.leader && !impl.down) {
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

bool Link::look_erased(bool (*done)(void*), void* context) {
  if (on_reactor_thread()) return false;
  std::unique_lock lock(mutex_);
  Impl& impl = *impl_;
  if (done(context)) return true;
  // Whoever reads already, the reactor for another operation included, brings this answer as well.
  if (impl.error || impl.down || !impl.waiters.empty() || impl.attention > 0) return false;
  if (!impl.patience.worth(std::exchange(impl.moved, 0), 1)) return false;
  Waiter self{done, context, {}};
  impl.waiters.push_back(&self);
  impl.leader = &self;
  const auto begin = core::SteadyClock::now();
  const auto look = impl.patience.span();
  const auto outcome = lead(lock, done, context, begin + std::max<core::Duration>(kPatience, look), look);
  impl.patience.learned(outcome && *outcome && **outcome, core::SteadyClock::now() - begin);
  impl.leader = nullptr;
  std::erase(impl.waiters, &self);
  hand_over();
  if (outcome && !*outcome) outcome->ignore("whoever waits for the operation is told");
  return outcome && *outcome && **outcome;
}

std::optional<Result<bool>> Link::lead(std::unique_lock<std::mutex>& lock, bool (*done)(void*), void* context,
                                       core::TimePoint deadline, core::Duration first_look) {
  Impl& impl = *impl_;
  if (impl.attention == 0) disarm();  // the reactor would wake up for every byte that comes
  auto wakeup = impl.reactor.wakeup();
  if (!wakeup) return Result<bool>(std::move(wakeup).error());
  impl.wakeup.emplace(*std::move(wakeup));

  std::optional<Result<bool>> outcome;
  bool likely_more = false;
  while (!outcome && !impl.down) {
    // Outside the lock: wait for bytes, for room or for somebody's wake-up, then read.
    const auto until = std::min(deadline, impl.session.next_tick());
    const bool for_room = impl.polls_output = impl.blocked;
    const int fd = impl.stream->fd(), wake_fd = impl.wakeup->fd();
    // The first look of look() was decided on already.
    const bool told = first_look > core::Duration::zero();
    const bool eager = !told && impl.eagerness.worth(std::exchange(impl.moved, 0), impl.waiters.size());
    const auto look = eager ? impl.eagerness.span() : std::exchange(first_look, core::Duration::zero());
    impl.polling = true;
    lock.unlock();
    bool readable = likely_more || impl.stream->pending();
    if (!readable) {
      const auto begin = core::SteadyClock::now();
      bool looked = false;
      readable = wait_for_stream(fd, wake_fd, for_room, until, look, looked);
      const auto took = core::SteadyClock::now() - begin;
      if (!eager) {
        if (!told) impl.eagerness.slept(took);
      } else if (looked || took >= look) {  // not if the deadline came first
        impl.eagerness.learned(looked, took);
      }
    }
    Result<std::size_t> got = std::size_t{0};
    ReadBuffer buffer;
    if (readable) got = impl.stream->read_some(buffer.take());
    lock.lock();
    impl.polling = false;
    if (std::exchange(impl.woken, false)) impl.wakeup->drain();

    if (impl.down) {  // a writer found out first
      got.ignore("that transport is given up");
      if (impl.next) install(*std::exchange(impl.next, std::nullopt));
      likely_more = false;
      continue;
    }
    // After a bulk read the next one goes without poll; when that finds nothing, poll decides whether there is an end.
    if (readable && !(likely_more && got && *got == 0)) impl.take(got, buffer);
    likely_more = got && *got >= kBusyRead;
    if (got) impl.moved += *got;
    const auto now = core::SteadyClock::now();
    impl.tick(now);
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

void Link::disarm() {
  Impl& impl = *impl_;
  if (!impl.descriptor) return;
  impl.descriptor->release();  // aborts what was armed
  impl.descriptor.reset();
  impl.read_armed = impl.write_armed = false;
}

void Link::arm() {
  Impl& impl = *impl_;
  const bool alive = !impl.error && !impl.down;
  const bool wants_read = impl.attention > 0 && alive;
  const bool wants_write = impl.blocked && !impl.write_error && alive;
  // Nobody else would notice that an idle transport which can be replaced has died.
  if ((wants_read || (impl.reconnect && alive)) && !impl.timer_armed) {
    if (const auto tick = impl.session.next_tick(); tick != core::TimePoint::max()) {
      impl.timer_armed = true;
      if (!impl.timer) impl.timer.emplace(impl.reactor.context());
      impl.timer->expires_at(tick);
      impl.timer->async_wait([weak = weak_from_this()](boost::system::error_code error) {
        if (error) return;
        if (auto self = weak.lock()) self->on_tick();
      });
    }
  }
  if (!wants_read && !wants_write) {
    // Mostly another asynchronous operation follows soon, and registering costs more system calls than the operation. What
    // is armed stays until bytes come that nobody wants, or a blocking caller.
    if (alive && impl.read_armed) return;
    return disarm();
  }
  if (!impl.descriptor) impl.descriptor.emplace(impl.reactor.context(), impl.stream->fd());
  if (wants_read && !impl.read_armed && impl.stream->pending()) {
    impl.read_armed = true;
    boost::asio::post(impl.reactor.context(), [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->on_reactor(true);
    });
  } else if (wants_read && !impl.read_armed) {
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
}

void Link::on_reactor(bool readable) {
  std::lock_guard lock(mutex_);
  Impl& impl = *impl_;
  (readable ? impl.read_armed : impl.write_armed) = false;
  // A blocking caller reads and writes faster than we do; it arms us again when it leaves.
  if (!impl.waiters.empty()) {
    if (impl.attention == 0) disarm();
    return;
  }
  if (readable && impl.attention > 0 && !impl.error) impl.read_now();
  impl.send_output();
  if (impl.error) let_go();
  else arm();
}

/// Reads what is there, on the reactor.
void Link::Impl::read_now() {
  ReadBuffer buffer;
  for (int i = 0; i < kReactorReads && !error && !down; ++i) {
    const auto got = stream->read_some(buffer.take());
    take(got, buffer);
    if (!got || (*got < kBusyRead && !stream->pending())) break;
  }
}

void Link::on_tick() {
  std::lock_guard lock(mutex_);
  Impl& impl = *impl_;
  impl.timer_armed = false;
  if (impl.error) return;
  // While a caller waits it reads by itself.
  if (impl.reconnect && impl.waiters.empty() && !impl.down) impl.read_now();
  impl.tick(core::SteadyClock::now());
  impl.tell_waiters(nullptr);
  if (impl.error) let_go();
  else if (impl.waiters.empty()) arm();
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
