#include <boost/asio/post.hpp>

#include "link/link_impl.hpp"

/// Links that connect by themselves. No thread waits here: dial() starts, dialled() goes on when there is an answer.
namespace sandbox::link {
namespace {

/// A transport that came so far as to carry a session for so long was a good one: after it the next try is made at once.
constexpr auto kStable = std::chrono::milliseconds(20);

/// Whether another try may go better.
bool may_pass(ErrorCode code) noexcept {
  return code == ErrorCode::unavailable || code == ErrorCode::deadline_exceeded || code == ErrorCode::resource_exhausted ||
         code == ErrorCode::internal;
}

}  // namespace

std::shared_ptr<Link> Link::make(Reconnect reconnect, session::Options options, aio::Reactor& reactor) {
  options.resumable = options.hold_until_ready = true;
  auto impl = std::make_unique<Impl>(std::move(options), reactor, std::move(reconnect));
  std::shared_ptr<Link> link(new Link(std::move(impl)));
  Impl& made = *link->impl_;
  made.self = link;
  made.down = true;
  made.allow_time();
  link->dial(false);
  return link;
}

void Link::Impl::lose(const Error& why) {
  if (error || down) return why.ignore("the transport was lost already");
  if (!reconnect || reconnect->window <= core::Duration::zero()) return fail(why);
  const auto now = core::SteadyClock::now();
  if (session.online() && now - connected_at >= kStable) pause = {};
  else lengthen_pause();
  give_up_at = now + reconnect->window;
  why.ignore("another transport takes its place");
  if (write_error) write_error->ignore("the transport is given up");
  write_error.reset();
  session.disconnected();
  down = true;
  blocked = false;
  for (Ping* ping : pings) ping->sent = false;
  stream->drop();
  dial_soon();
}

/// Not from here: the lock is held.
void Link::Impl::dial_soon() {
  boost::asio::post(reactor.context(), [weak = self] {
    if (auto link = weak.lock()) link->dial(false);
  });
}

/// How long to try, from now.
void Link::Impl::allow_time() { give_up_at = core::SteadyClock::now() + std::max(reconnect->window, reconnect->dial_timeout); }

void Link::Impl::lengthen_pause() { pause = std::min(std::max(pause * 2, reconnect->first_pause), reconnect->longest_pause); }

void Link::Impl::say_last_words() {
  if (down || write_error || !endpoint) return;
  for (;;) {
    const ByteView bytes = endpoint->output();
    if (bytes.empty()) return;
    const auto put = stream->write_some(bytes);
    if (!put || *put == 0) return put.ignore("nobody hears it");
    endpoint->sent(*put);
  }
}

void Link::Impl::renew(const Error& why) {
  const auto first = session.last_stream() + 1;
  const Error lost = Error(ErrorCode::unavailable, "the agent lost the session").with_retry(Retry::now).with_cause(why);
  lost.ignore("told to every stream");
  session.fail(lost);
  lose(Error(ErrorCode::unavailable, "the agent does not know the session any more"));
  // Behind lose(), which tells the session it had until now; the next transport is the new one's first.
  session::Options fresh = options;
  fresh.first_stream = first;
  session = session::Session(session::Role::client, std::move(fresh), *this);
  begun = false;
  ++renewals;
}

void Link::Impl::send_pings() {
  if (!session.online()) return;
  for (Ping* ping : pings)
    if (!std::exchange(ping->sent, true)) session.ping(ping->nonce);
}

/// `rested`: the pause before this try is over.
void Link::dial(bool rested) {
  core::TimePoint deadline;
  std::optional<Fingerprint> known;
  std::uint64_t attempt = 0;
  {
    std::lock_guard lock(mutex_);
    Impl& impl = *impl_;
    if (impl.error || !impl.down) return;
    if (!rested && impl.pause > core::Duration::zero()) {
      if (!impl.retry) impl.retry.emplace(impl.reactor.context());
      impl.retry->expires_after(impl.pause);
      impl.retry->async_wait([weak = weak_from_this()](boost::system::error_code error) {
        if (error) return;
        if (auto self = weak.lock()) self->dial(true);
      });
      return;
    }
    deadline = std::min(impl.give_up_at, core::SteadyClock::now() + impl.reconnect->dial_timeout);
    known = impl.seen;
    attempt = ++impl.attempt;
  }
  impl_->reconnect->dial(deadline, known, [weak = weak_from_this(), attempt](Result<Transport> got) {
    if (auto self = weak.lock()) self->dialled(attempt, std::move(got));
    else got.ignore("nobody waits for it any more");
  });
}

void Link::hurry() {
  std::lock_guard lock(mutex_);
  Impl& impl = *impl_;
  impl.pause = {};
  if (impl.error || !impl.down || !impl.retry || impl.retry->cancel() == 0) return;
  impl.dial_soon();
}

void Link::dialled(std::uint64_t attempt, Result<Transport> got) {
  std::lock_guard lock(mutex_);
  Impl& impl = *impl_;
  if (impl.error || !impl.down || attempt != impl.attempt) return got.ignore("it came too late");
  if (!got) {
    const bool stands_still = got.error().code() == ErrorCode::failed_precondition;
    if (stands_still) impl.allow_time();  // it begins when the peer goes on
    if (stands_still || (may_pass(got.error().code()) && core::SteadyClock::now() < impl.give_up_at)) {
      got.ignore("tried again");
      impl.lengthen_pause();
      impl.dial_soon();
      return;
    }
    const ErrorCode code = got.error().code();
    Error over = may_pass(code)                    ? Error(ErrorCode::unavailable, "the connection was lost and did not come back")
                 : code == ErrorCode::not_found ? Error(ErrorCode::unavailable, "the sandbox has ended")
                                                : Error(code, "the sandbox cannot be reached any more");
    impl.fail(std::move(over).with_cause(std::move(got).error()));
    impl.tell_waiters(nullptr);
    let_go();
    return;
  }
  if (impl.polling) {
    impl.next.emplace(*std::move(got));
    impl.wake_leader();
  } else {
    install(*std::move(got));
  }
}

void Link::install(Transport transport) {
  Impl& impl = *impl_;
  disarm();
  impl.stream = std::move(transport.stream);
  if (transport.channel) impl.endpoint.emplace(impl.session, *std::move(transport.channel));
  else impl.endpoint.emplace(impl.session);
  impl.down = false;
  impl.connected_at = core::SteadyClock::now();
  if (std::exchange(impl.begun, true)) {
    ++impl.reconnects;
    if (auto resumed = impl.session.resume(); !resumed) impl.fail(resumed.error());
  }
  impl.send_output();
  // Whoever waits may read again; it takes one of them.
  for (Waiter* waiter : impl.waiters) waiter->changed.notify_one();
  if (impl.waiters.empty()) arm();
}

Result<Fingerprint> Link::fingerprint(core::TimePoint deadline) {
  const auto channel = [this] { return impl_->endpoint ? impl_->endpoint->channel() : nullptr; };
  SANDBOX_TRY(const bool known, wait_until([&] {
                if (impl_->seen) return true;
                if (impl_->down || !impl_->endpoint) return false;
                return !channel() || channel()->established();
              }, deadline));
  if (!known) return Error(ErrorCode::deadline_exceeded, "no handshake with the agent").with_operation("link.fingerprint");
  std::lock_guard lock(mutex_);
  if (impl_->seen) return *impl_->seen;
  if (!channel()) return Error(ErrorCode::failed_precondition, "this session is not sealed");
  return channel()->fingerprint();
}

std::optional<Error> Link::error() const {
  std::lock_guard lock(mutex_);
  return impl_->error;
}

bool Link::reconnects_by_itself() const noexcept { return impl_->reconnect.has_value(); }

std::uint64_t Link::reconnects() const {
  std::lock_guard lock(mutex_);
  return impl_->reconnects;
}

std::uint64_t Link::renewals() const {
  std::lock_guard lock(mutex_);
  return impl_->renewals;
}

}  // namespace sandbox::link
