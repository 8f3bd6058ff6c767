#include "runtime/runtime_state.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <future>

#include <boost/asio/post.hpp>

#include "core/sync_point.hpp"
#include "core/text.hpp"
#include "launch/plan.hpp"
#include "protocol/build_id.hpp"
#include "runtime/profile.hpp"
#include "runtime/proof.hpp"
#include "runtime/state_directory.hpp"

namespace sandbox {

using runtime::LocalBox;
using runtime::Profile;

namespace {

/// Profiles remembered beyond those that are warm or in use: their recipes make the next cold create cheaper.
constexpr std::size_t kMaxProfiles = 256;
/// Creations by callers at a time: more only queue up in the launchers, where nobody can leave the queue.
unsigned max_makers() { return std::max(4u, 2 * std::thread::hardware_concurrency()); }
constexpr unsigned kMaxRefills = 2;
constexpr auto kRefillDeadline = std::chrono::seconds(30);
/// All places taken: a refill looks again behind this, though nobody was heard to give one back.
constexpr auto kNoPlaceWait = std::chrono::milliseconds(10);
/// Layers that one look removes at most: closing waits for it.
constexpr std::size_t kPrunedAtATime = 8;
constexpr auto kProbeDeadline = std::chrono::seconds(10);

Error closing_error() { return Error(ErrorCode::unavailable, "the runtime is closed").with_operation("runtime.create"); }

bool worth_waiting_for(const Error& error) {
  switch (error.code()) {
    case ErrorCode::unavailable:
    case ErrorCode::resource_exhausted:
    case ErrorCode::deadline_exceeded:
    case ErrorCode::cancelled: return true;
    default: return error.retry() != Retry::never;
  }
}

pool::PolicyOptions policy_options(std::uint32_t floor, std::uint32_t max_warm) {
  pool::PolicyOptions options;
  options.floor = floor;
  options.max_warm = max_warm;
  options.max_refills = kMaxRefills;
  std::uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) == sizeof seed) options.seed = seed;
  return options;
}

}  // namespace

RuntimeState::RuntimeState(RuntimeOptions options)
    : options_(std::move(options)), admission_(options_.max_sandboxes(), max_makers()) {}

RuntimeState::~RuntimeState() { close().ignore("destroyed without close(): nobody is left to tell"); }

Result<std::shared_ptr<RuntimeState>> RuntimeState::open_with(RuntimeOptions options,
                                                              std::vector<std::unique_ptr<backend::Backend>> backends) {
  if (options.max_sandboxes() == 0) return Error(ErrorCode::invalid_argument, "max_sandboxes of 0");
  if (backends.empty()) return Error(ErrorCode::invalid_argument, "a runtime needs a backend");
  std::shared_ptr<RuntimeState> state(new RuntimeState(std::move(options)));
  if (auto started = state->start(std::move(backends)); !started) {
    // What an earlier runtime left stays for one that opens: a launcher that was taken over must not be told to forget it.
    state->shut_down(state->options_.is_persistent()).ignore("it did not open: that failure is the report");
    return std::move(started).error();
  }
  return state;
}

Result<void> RuntimeState::start(std::vector<std::unique_ptr<backend::Backend>> backends) {
  backends_ = std::move(backends);
  image::StoreOptions store;
  store.directory = runtime::state_directory(options_);
  store.on_progress = [this](const std::string& line) { log(LogLevel::info, line); };
  SANDBOX_TRY(store_, image::ImageStore::open(std::move(store)));
  SANDBOX_TRY(host_, backends_.front()->probe(core::SteadyClock::now() + kProbeDeadline));
  reactor_ = std::make_unique<aio::Reactor>();
  SANDBOX_TRY(monitor_, runtime::ExitMonitor::make(*reactor_, [this](std::uint64_t token) { on_exit(token); }));

  if (!options_.required_proof().empty()) {
    SANDBOX_TRY(const auto lines, policy());
    SANDBOX_CHECK(runtime::check_proof(options_.required_proof(), lines));
  }
  if (options_.is_persistent())
    for (const auto& maker : backends_) SANDBOX_CHECK(adopt_all(*maker));
  for (const auto& [count, spec] : options_.warm()) {
    SANDBOX_TRY(const ProfilePtr profile, profile_of(spec));
    std::lock_guard lock(mutex_);
    profile->policy.set_floor(std::max(profile->policy.floor(), count));
  }
  SANDBOX_CHECK(refillers_.start(kMaxRefills, [this](std::unique_lock<std::mutex>& lock) { return look_after_pools(lock); }));
  prune_later();  // by now the adopted ones have what they stand on
  return {};
}

Result<std::vector<std::string>> RuntimeState::policy() {
  SANDBOX_TRY(auto lines, backends_.front()->policy(core::SteadyClock::now() + kProbeDeadline));
  return runtime::complete_policy(std::move(lines));
}

backend::Backend* RuntimeState::find_backend(const std::string& name) const {
  for (const auto& candidate : backends_)
    if (candidate->name() == name) return candidate.get();
  return nullptr;
}

// ---- profiles -------------------------------------------------------------------------------------------------------

Result<RuntimeState::ProfilePtr> RuntimeState::profile_of(const SandboxSpec& spec) {
  std::string key = runtime::profile_key(spec);
  // The identity is part of the key: an image that changed on disk is another profile with another pool.
  if (spec.image().kind() != Image::Kind::host) {
    SANDBOX_TRY(const std::string identity, store_->identity(spec.image()));
    key += '\n';
    key += identity;
  }
  {
    std::lock_guard lock(mutex_);
    if (const auto found = profiles_.find(key); found != profiles_.end()) return found->second;
  }
  SANDBOX_CHECK(runtime::validate(spec));
  backend::Backend* maker = find_backend(spec.backend());
  if (maker == nullptr)
    return Error(ErrorCode::unsupported, "no backend named \"" + core::escape_control(spec.backend()) + "\"").with_operation("runtime.create");
  auto profile = std::make_shared<Profile>(key, spec, runtime::profile_name(spec), *maker,
                                           policy_options(0, options_.max_warm()), clock_);
  std::lock_guard lock(mutex_);
  if (closing_) return closing_error();
  forget_unused_profiles();
  return profiles_.emplace(std::move(key), std::move(profile)).first->second;
}

void RuntimeState::forget_unused_profiles() {
  if (profiles_.size() < kMaxProfiles) return;
  auto oldest = profiles_.end();
  for (auto it = profiles_.begin(); it != profiles_.end(); ++it) {
    // use_count 1: nobody is about to use it, and under the lock nobody can start to.
    if (it->second.use_count() > 1 || it->second->policy.floor() > 0 || it->second->alive > 0) continue;
    if (oldest == profiles_.end() || it->second->last_used < oldest->second->last_used) oldest = it;
  }
  if (oldest != profiles_.end()) profiles_.erase(oldest);
}

Result<std::shared_ptr<backend::Recipe>> RuntimeState::prepare(Profile& profile) {
  std::lock_guard one_at_a_time(profile.prepare_mutex);
  if (profile.recipe && !profile.recipe->stale()) return profile.recipe;
  SANDBOX_TRY(image::ResolvedImage resolved, store_->resolve(profile.spec.image()));
  backend::ResolvedImage image;
  image.host_userland = resolved.host_userland;
  image.layers = std::move(resolved.layers);
  image.scratch_layer = std::move(resolved.scratch_layer);
  image.digest = std::move(resolved.digest);
  image.pinned = std::move(resolved.pinned);
  SANDBOX_TRY(profile.recipe, profile.backend.prepare(profile.spec, image));
  profile.image_pin = std::move(resolved.pin);
  const std::uint64_t restarts = profile.backend.restarts();
  if (const std::uint64_t before = restarts_seen_.exchange(restarts); restarts > before) {
    log(LogLevel::warning, "a launcher ended and was replaced");
    emit(RuntimeEvent::Kind::launcher_restarted, {}, std::to_string(restarts - before) + " replaced");
  }
  return profile.recipe;
}

// ---- making ---------------------------------------------------------------------------------------------------------

std::string RuntimeState::new_id() {
  std::uint32_t random = 0;
  while (::getrandom(&random, sizeof random, 0) != sizeof random) {
  }
  char text[16];
  std::snprintf(text, sizeof text, "sbx-%08x", random);
  return text;
}

/// A session with its agent, which has not answered yet.
Result<std::shared_ptr<link::Link>> RuntimeState::connect(backend::Instance& instance, const SandboxSpec& spec) {
  session::Options session_options;
  session_options.software = "sandbox/" SANDBOX_VERSION_STRING;
  std::optional<crypto::SecureChannel> channel;
  if (spec.is_sealed()) {
    SANDBOX_TRY(auto made, crypto::SecureChannel::client({}));
    channel.emplace(std::move(made));
  }
  return link::Link::make(link::socket_stream(instance.take_stream()), std::move(session_options), *reactor_, std::move(channel));
}

Result<void> RuntimeState::greet(backend::Instance& instance, link::Link& link, core::TimePoint deadline) {
  auto hello = link.handshake(deadline);
  if (!hello) return instance.explain(std::move(hello).error().with_context("the agent did not say hello"));
  // Only the agent's own build promises anything; what a test puts in its place says so with another name.
  constexpr std::string_view kAgent = "sandbox-agent/";
  if (hello->software.starts_with(kAgent) && std::string_view(hello->software).substr(kAgent.size()) != protocol::build_id())
    return launch::build_mismatch("sandbox-agent", std::string_view(hello->software).substr(kAgent.size()));
  if (!hello->facts) return Error(ErrorCode::protocol, "the agent did not report its confinement");
  return instance.verify(*hello->facts);
}

Result<RuntimeState::BoxPtr> RuntimeState::make_once(const ProfilePtr& profile, core::TimePoint deadline) {
  SANDBOX_TRY(const std::shared_ptr<backend::Recipe> recipe, prepare(*profile));
  SANDBOX_TRY(std::unique_ptr<backend::Instance> made, recipe->create(deadline));
  std::shared_ptr<backend::Instance> instance(std::move(made));
  const auto discard = [&](Error error) -> Error {
    instance->destroy().ignore("it was never used; why it could not be is the report");
    return error;
  };
  auto connected = connect(*instance, profile->spec);
  if (!connected) return discard(std::move(connected).error());
  const std::shared_ptr<link::Link> link = *std::move(connected);
  SANDBOX_SYNC_POINT("runtime.before_greet");
  if (auto greeted = greet(*instance, *link, deadline); !greeted) return discard(std::move(greeted).error());

  SANDBOX_SYNC_POINT("runtime.greeted");
  std::unique_lock lock(mutex_);
  if (closing_) {
    lock.unlock();
    return discard(closing_error());
  }
  const std::uint64_t token = ++last_token_;
  auto box = std::make_shared<LocalBox>(shared_from_this(), profile, token, new_id(), instance, link);
  boxes_.emplace(token, box);
  ++profile->alive;
  lock.unlock();
  if (auto watched = monitor_->add(instance->exit_fd(), token); !watched) {
    {
      std::lock_guard undo(mutex_);  // the caller gives the place back, so released() must not
      boxes_.erase(token);
      --profile->alive;
    }
    box->close().ignore("it was never used; why it could not be is the report");
    return std::move(watched).error();
  }
  return box;
}

Result<RuntimeState::BoxPtr> RuntimeState::make(const ProfilePtr& profile, core::TimePoint deadline) {
  for (int attempt = 0;; ++attempt) {
    auto box = make_once(profile, deadline);
    // A launcher that died is replaced: what was under way on it deserves another try. Up to three may have died at once.
    if (box || box.error().code() != ErrorCode::unavailable || attempt >= 3 || closing_ || core::SteadyClock::now() >= deadline)
      return box;
    box.ignore("tried again");
  }
}

// ---- creating -------------------------------------------------------------------------------------------------------

RuntimeState::BoxPtr RuntimeState::take_ready(Profile& profile, std::string_view note) {
  BoxPtr box;
  {
    std::lock_guard lock(mutex_);
    if (profile.ready.empty() || closing_) return nullptr;
    SANDBOX_SYNC_POINT("pool.before_handout");
    box = std::move(profile.ready.front());
    profile.ready.pop_front();
    profile.policy.hit();
    hand_over(box);
    if (const core::TimePoint next = profile.policy.next_wakeup(); next != core::TimePoint::max()) refillers_.plan(next);
  }
  SANDBOX_SYNC_POINT("pool.handed_out");
  if (auto committed = commit(*box, profile, note); !committed) {
    log(LogLevel::warning, box->id() + " (in the pool) cannot be kept: " + committed.error().to_string());
    committed.error().ignore("another one is made");
    // Closing may block on the launcher; a caller of async_create() must not. Refused while the runtime closes, which frees it.
    static_cast<void>(chores_.post([box] { box->close().ignore("it was never used"); }));
    return nullptr;
  }
  emit(RuntimeEvent::Kind::created, box->id(), "warm");
  return box;
}

void RuntimeState::hand_over(const BoxPtr& box) {
  box->hand_out();
  ++live_;
}

Result<std::shared_ptr<driver::Box>> RuntimeState::create() {
  static const SandboxSpec kDefault;
  ProfilePtr profile;
  {
    std::lock_guard lock(mutex_);
    profile = default_profile_;
  }
  if (!profile) {
    SANDBOX_TRY(profile, profile_of(kDefault));
    std::lock_guard lock(mutex_);
    if (!closing_) default_profile_ = profile;
  }
  if (BoxPtr box = take_ready(*profile, {})) return std::shared_ptr<driver::Box>(std::move(box));
  const CreateOptions options;
  SANDBOX_TRY(BoxPtr box, create_slow(profile, options, core::SteadyClock::now() + options.deadline(), nullptr, {}));
  return std::shared_ptr<driver::Box>(std::move(box));
}

Result<std::shared_ptr<driver::Box>> RuntimeState::create(const SandboxSpec& spec, const CreateOptions& options) {
  const core::TimePoint deadline = core::SteadyClock::now() + options.deadline();
  SANDBOX_TRY(const ProfilePtr profile, profile_of(spec));
  if (!options.is_cold())
    if (BoxPtr box = take_ready(*profile, {})) return std::shared_ptr<driver::Box>(std::move(box));
  SANDBOX_TRY(BoxPtr box, create_slow(profile, options, deadline, nullptr, {}));
  return std::shared_ptr<driver::Box>(std::move(box));
}

std::function<void()> RuntimeState::async_create(SandboxSpec spec, CreateOptions options,
                                                 std::function<void(Result<std::shared_ptr<driver::Box>>)> done, std::string note) {
  using Outcome = Result<std::shared_ptr<driver::Box>>;
  const core::TimePoint deadline = core::SteadyClock::now() + options.deadline();
  // Completions hold no RuntimeState: the reactor that runs them belongs to it.
  const auto complete = [this, done = std::move(done)](Outcome outcome) {
    auto kept = std::make_shared<Outcome>(std::move(outcome));
    reactor_->post([done, kept] { done(std::move(*kept)); });
  };
  auto profile = profile_of(spec);
  if (!profile) {
    complete(std::move(profile).error());
    return {};
  }
  if (!options.is_cold()) {
    if (BoxPtr box = take_ready(**profile, note)) {
      complete(std::shared_ptr<driver::Box>(std::move(box)));
      return {};
    }
  }
  auto cancellation = std::make_shared<Cancellation>();
  const bool posted = creators_.post([this, profile = *profile, options, deadline, cancellation, complete, note = std::move(note)] {
    auto box = create_slow(profile, options, deadline, cancellation.get(), note);
    if (box) complete(std::shared_ptr<driver::Box>(std::move(*box)));
    else complete(std::move(box).error());
  });
  if (!posted) complete(closing_error());
  return [weak = weak_from_this(), cancellation] {
    const auto self = weak.lock();
    if (!self) return;
    std::lock_guard lock(self->mutex_);
    cancellation->requested = true;
    if (cancellation->waiter == nullptr) return;
    cancellation->waiter->cancelled = true;
    cancellation->waiter->changed.notify_one();
  };
}

Result<RuntimeState::BoxPtr> RuntimeState::create_slow(const ProfilePtr& profile, const CreateOptions& options,
                                                       core::TimePoint deadline, Cancellation* cancellation,
                                                       std::string_view note) {
  std::unique_lock lock(mutex_);
  if (closing_) return closing_error();
  if (cancellation != nullptr && cancellation->requested) return Error(ErrorCode::cancelled, "the create was cancelled");
  ++in_flight_;
  profile->last_used = clock_.now();
  if (!options.is_cold()) profile->policy.miss();
  auto outcome = [&]() -> Result<BoxPtr> {
    SANDBOX_TRY(BoxPtr member, enter(lock, profile, deadline, cancellation));
    if (member) return member;
    lock.unlock();
    auto made = make(profile, deadline);
    lock.lock();
    admission_.maker_done();
    if (made && (*made)->phase() == LocalBox::Phase::lost) {
      lock.unlock();
      (*made)->close().ignore("it had ended already");
      made = Error(ErrorCode::unavailable, "the sandbox ended as soon as it was made").with_operation("runtime.create").with_retry(Retry::now);
      lock.lock();
    } else if (!made) {
      admission_.place_free();
    } else {
      hand_over(*made);
    }
    pump();
    return made;
  }();
  if (--in_flight_ == 0) idle_changed_.notify_all();
  if (profile->policy.floor() > 0) refillers_.plan(clock_.now() + pool::PolicyOptions().settle);
  lock.unlock();
  if (outcome) {
    SANDBOX_SYNC_POINT("runtime.before_commit");
    if (auto committed = commit(**outcome, *profile, note); !committed) {
      (*outcome)->close().ignore("it was never used");
      return std::move(committed).error();
    }
    SANDBOX_SYNC_POINT("runtime.committed");
    emit(RuntimeEvent::Kind::created, (*outcome)->id(), "cold");
  }
  return outcome;
}

/// Waits until `profile` may make a sandbox (null), or was given one that became ready meanwhile.
Result<RuntimeState::BoxPtr> RuntimeState::enter(std::unique_lock<std::mutex>& lock, const ProfilePtr& profile,
                                                 core::TimePoint deadline, Cancellation* cancellation) {
  if (admission_.try_enter()) return BoxPtr();
  Waiter waiter;
  waiter.profile = profile.get();
  const auto ticket = admission_.wait(deadline);
  waiters_.emplace(ticket, &waiter);
  if (cancellation != nullptr) cancellation->waiter = &waiter;
  if (admission_.full()) {
    // Idle members are worth less than a caller: one makes room.
    if (BoxPtr idle = pop_idle()) {
      lock.unlock();
      idle->close().ignore("an idle member made room");
      idle.reset();
      lock.lock();
    }
  }
  const auto over = [&] { return waiter.granted || waiter.box || waiter.cancelled || closing_; };
  waiter.changed.wait_until(lock, deadline, over);
  if (cancellation != nullptr) cancellation->waiter = nullptr;
  waiters_.erase(ticket);
  if (waiter.box) return waiter.box;
  if (waiter.granted && !closing_) return BoxPtr();
  if (waiter.granted) {
    admission_.maker_done();
    admission_.place_free();
  } else {
    admission_.leave(ticket);
  }
  pump();  // whoever stood behind may be next
  if (closing_) return closing_error();
  if (waiter.cancelled) return Error(ErrorCode::cancelled, "the create was cancelled");
  if (admission_.full())
    return Error(ErrorCode::resource_exhausted, "all " + std::to_string(admission_.places()) +
                                                    " sandboxes of this runtime are in use and none was closed in time")
        .with_operation("runtime.create")
        .with_retry(Retry::after_backoff);
  return Error(ErrorCode::deadline_exceeded, "other creations were under way until the deadline")
      .with_operation("runtime.create")
      .with_retry(Retry::after_backoff);
}

/// Lets waiters in while there is room. Under mutex_.
void RuntimeState::pump() {
  while (const auto ticket = admission_.grant()) {
    const auto found = waiters_.find(*ticket);
    if (found == waiters_.end()) {  // it is leaving at this moment
      admission_.maker_done();
      admission_.place_free();
      continue;
    }
    found->second->granted = true;
    found->second->changed.notify_one();
  }
}

/// Takes one idle member out of the pool that has most. Under mutex_.
RuntimeState::BoxPtr RuntimeState::pop_idle() {
  Profile* richest = nullptr;
  for (const auto& [key, profile] : profiles_)
    if (!profile->ready.empty() && (richest == nullptr || profile->ready.size() > richest->ready.size())) richest = profile.get();
  if (richest == nullptr) return nullptr;
  BoxPtr box = std::move(richest->ready.back());
  richest->ready.pop_back();
  richest->policy.member_discarded();
  return box;
}

// ---- refilling ------------------------------------------------------------------------------------------------------

/// What a refill thread does, until nothing is to be done at once; returns when to look again.
core::TimePoint RuntimeState::look_after_pools(std::unique_lock<std::mutex>& lock) {
  while (!closing_) {
    ProfilePtr neediest;
    BoxPtr extra;
    std::uint32_t due = 0;
    core::TimePoint wake = core::TimePoint::max();
    const auto foreground = static_cast<std::uint32_t>(admission_.making() + admission_.waiting());
    for (const auto& [key, profile] : profiles_) {
      if (!extra && !profile->ready.empty() && profile->policy.surplus() > 0) {
        extra = std::move(profile->ready.back());
        profile->ready.pop_back();
        profile->policy.member_discarded();
      }
      if (const std::uint32_t wanted = profile->policy.due(foreground); wanted > 0) {
        due += wanted;
        if (!neediest || profile->policy.ready() < neediest->policy.ready()) neediest = profile;
      }
      wake = std::min(wake, profile->policy.next_wakeup());
    }
    if (extra) {
      lock.unlock();
      extra->close().ignore("an idle member too many");
      extra.reset();
      lock.lock();
      continue;
    }
    // Without a place there is nothing to do until one is given back, and released() plans a look then.
    if (neediest && admission_.try_refill()) {
      neediest->policy.refill_started();
      if (due > 1) refillers_.plan(clock_.now());
      refill(lock, neediest);
      neediest.reset();
      continue;
    }
    return neediest ? std::max(wake, clock_.now() + kNoPlaceWait) : wake;
  }
  return core::TimePoint::max();
}

void RuntimeState::refill(std::unique_lock<std::mutex>& lock, const ProfilePtr& profile) {
  lock.unlock();
  const core::TimePoint start = clock_.now();
  SANDBOX_SYNC_POINT("pool.before_refill");
  auto made = make(profile, start + kRefillDeadline);
  SANDBOX_SYNC_POINT("pool.refilled");
  lock.lock();
  if (made && (*made)->phase() == LocalBox::Phase::lost) {
    lock.unlock();
    (*made)->close().ignore("it had ended already");
    made = Error(ErrorCode::unavailable, "the sandbox ended as soon as it was made");
    lock.lock();
    profile->policy.refill_failed();
  } else if (!made) {
    admission_.place_free();
    profile->policy.refill_failed();
  }
  if (!made) {
    const std::string text = made.error().to_string();
    profile->last_failure = std::move(made).error();
    profile->last_failure->ignore("kept for wait_warm");
    pump();
    warm_changed_.notify_all();
    lock.unlock();
    if (!closing_) {
      log(LogLevel::warning, "refill of \"" + profile->name + "\" failed: " + text);
      emit(RuntimeEvent::Kind::pool_refill_failed, {}, text);
    }
    lock.lock();
    return;
  }

  BoxPtr box = std::move(*made);
  profile->last_failure.reset();
  profile->policy.refill_succeeded(clock_.now() - start);
  const auto waiter = std::find_if(waiters_.begin(), waiters_.end(), [&](const auto& entry) {
    return entry.second->profile == profile.get() && !entry.second->granted && !entry.second->box && !entry.second->cancelled;
  });
  if (closing_ || (waiter == waiters_.end() && admission_.waiting() > 0 && admission_.full())) {
    // Somebody else waits for this place.
    profile->policy.member_discarded();
    lock.unlock();
    box->close().ignore("a caller waits for its place");
    box.reset();  // its own lock is never taken under ours
    lock.lock();
    return;
  }
  if (waiter != waiters_.end()) {
    profile->policy.hit();
    hand_over(box);
    admission_.leave(waiter->first);
    waiter->second->box = std::move(box);
    waiter->second->changed.notify_one();
    pump();
    return;
  }
  box->set_phase(LocalBox::Phase::warm);
  profile->ready.push_back(std::move(box));
  if (profile->policy.warm()) warm_changed_.notify_all();
  if (profile->policy.ready() >= profile->policy.target() && options_.on_event())
    emit(RuntimeEvent::Kind::pool_refilled, {}, profile->name + ": " + std::to_string(profile->policy.ready()) + " ready");
}

// ---- ends -----------------------------------------------------------------------------------------------------------

void RuntimeState::on_exit(std::uint64_t token) {
  BoxPtr box;
  bool was_warm = false;
  {
    std::lock_guard lock(mutex_);
    const auto found = boxes_.find(token);
    if (found == boxes_.end()) return;
    box = found->second.lock();
    if (!box) return;
    switch (box->phase()) {
      case LocalBox::Phase::making: box->set_phase(LocalBox::Phase::lost); return;  // its maker looks
      case LocalBox::Phase::warm: {
        auto& ready = box->profile()->ready;
        const auto member = std::find(ready.begin(), ready.end(), box);
        if (member == ready.end()) return;  // being discarded
        ready.erase(member);
        box->profile()->policy.member_lost();
        refillers_.plan(clock_.now());
        was_warm = true;
        break;
      }
      case LocalBox::Phase::live: break;
      case LocalBox::Phase::lost:
      case LocalBox::Phase::closed: return;
    }
    box->set_phase(LocalBox::Phase::lost);
  }
  // Freeing may block on the launcher; this thread must not.
  const bool posted = chores_.post([this, box, was_warm] {
    const std::string reason = box->bury();
    if (reason.empty()) return;  // closed by its owner meanwhile
    log(LogLevel::warning, box->id() + (was_warm ? " (in the pool)" : "") + " has ended: " + reason);
    emit(was_warm ? RuntimeEvent::Kind::pool_member_replaced : RuntimeEvent::Kind::lost, box->id(), reason);
  });
  static_cast<void>(posted);  // refused only while the runtime closes, which frees every box anyway
}

void RuntimeState::unwatch(const backend::Instance& instance) noexcept {
  if (monitor_) monitor_->remove(instance.exit_fd());
}

void RuntimeState::released(LocalBox& box) {
  bool was_live = false;
  ProfilePtr profile;  // freed outside the lock
  {
    std::lock_guard lock(mutex_);
    if (boxes_.erase(box.token()) == 0) return;
    was_live = box.handed_out();
    if (was_live) --live_;
    profile = box.forget_profile();
    --profile->alive;
    admission_.place_free();
    pump();
    refillers_.plan(clock_.now() + pool::PolicyOptions().settle);
  }
  if (was_live && box.phase() == LocalBox::Phase::closed && !box.left()) emit(RuntimeEvent::Kind::destroyed, box.id(), {});
}

void RuntimeState::emit(RuntimeEvent::Kind kind, std::string sandbox_id, std::string detail) {
  if (!options_.on_event()) return;
  RuntimeEvent event{kind, std::move(sandbox_id), std::move(detail), std::chrono::system_clock::now()};
  boost::asio::post(reactor_->context(), [this, event = std::move(event)] {
    try {
      options_.on_event()(event);
    } catch (...) {
      log(LogLevel::error, "the event callback threw");
    }
  });
}

void RuntimeState::log(LogLevel level, std::string_view text) const {
  if (options_.on_log()) options_.on_log()(level, text);
}

// ---- numbers and settings -------------------------------------------------------------------------------------------

Result<void> RuntimeState::wait_warm(core::TimePoint deadline) {
  if (reactor_->on_this_thread()) return Error(ErrorCode::failed_precondition, "wait_warm() would block the runtime's own thread");
  std::unique_lock lock(mutex_);
  for (;;) {
    if (closing_) return closing_error();
    ProfilePtr cold;
    for (const auto& [key, profile] : profiles_) {
      if (profile->policy.warm()) continue;
      if (profile->last_failure && !worth_waiting_for(*profile->last_failure)) return *profile->last_failure;
      if (!cold || profile->last_failure) cold = profile;
    }
    if (!cold) return {};
    if (warm_changed_.wait_until(lock, deadline) == std::cv_status::timeout && !cold->policy.warm()) {
      Error late(ErrorCode::deadline_exceeded, "\"" + cold->name + "\" has " + std::to_string(cold->policy.ready()) + " of " +
                                                   std::to_string(cold->policy.floor()) + " ready");
      if (cold->last_failure) return std::move(late).with_cause(*cold->last_failure);
      return late;
    }
  }
}

Result<void> RuntimeState::set_warm(const SandboxSpec& spec, std::uint32_t count) {
  SANDBOX_TRY(const ProfilePtr profile, profile_of(spec));
  {
    std::lock_guard lock(mutex_);
    profile->policy.set_floor(count);
    if (count == 0) profile->last_failure.reset();
    refillers_.plan(clock_.now());
  }
  warm_changed_.notify_all();
  return {};
}

std::vector<PoolStats> RuntimeState::pools() const {
  std::vector<PoolStats> all;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [key, profile] : profiles_) {
      const pool::PoolPolicy& policy = profile->policy;
      PoolStats stats;
      stats.profile = profile->name;
      stats.target = policy.target();
      stats.ready = policy.ready();
      stats.warming = policy.warming();
      stats.hits = policy.hits();
      stats.misses = policy.misses();
      stats.replaced = policy.lost();
      stats.failures = policy.failures();
      stats.refill_time = policy.last_refill_time();
      all.push_back(std::move(stats));
    }
  }
  std::sort(all.begin(), all.end(), [](const PoolStats& a, const PoolStats& b) { return a.profile < b.profile; });
  return all;
}

std::size_t RuntimeState::live() const {
  std::lock_guard lock(mutex_);
  return live_;
}

Result<void> RuntimeState::remove_template(const std::string& id) {
  std::vector<ProfilePtr> unused;
  std::vector<BoxPtr> idle;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [key, profile] : profiles_) {
      if (profile->spec.image().kind() != Image::Kind::template_id || profile->spec.image().reference() != id) continue;
      // Beyond its idle members and the map nobody may hold it: boxes, creations, refills.
      if (profile->alive != profile->ready.size() ||
          profile.use_count() != static_cast<long>(1 + profile->ready.size()))
        return Error(ErrorCode::failed_precondition, id + " is in use by " + std::to_string(profile->alive) + " sandboxes")
            .with_operation("runtime.remove_template");
      unused.push_back(profile);
    }
    for (const ProfilePtr& profile : unused) {
      while (!profile->ready.empty()) {
        idle.push_back(std::move(profile->ready.back()));
        profile->ready.pop_back();
        profile->policy.member_discarded();
      }
      profile->policy.set_floor(0);
      profiles_.erase(profile->key);
    }
  }
  for (const BoxPtr& box : idle) box->close().ignore("its template goes away");
  idle.clear();
  unused.clear();  // and with them the pins
  SANDBOX_CHECK(store_->remove_template(id));
  emit(RuntimeEvent::Kind::template_removed, {}, id);
  prune_later();
  return {};
}

void RuntimeState::prune_later() {
  if (options_.prune_after().count() <= 0 || !store_->has_layers()) return;
  chores_.post([this] {
    image::CollectOptions collect;
    collect.unused_for = options_.prune_after();
    collect.most = kPrunedAtATime;
    auto removed = store_->collect(collect);
    if (!removed) return log(LogLevel::warning, "unused layers stay: " + removed.error().to_string());
    for (const PrunedLayer& layer : *removed) log(LogLevel::info, "layer " + layer.digest.substr(0, 16) + " was not used any more: removed");
  });
}

// ---- closing --------------------------------------------------------------------------------------------------------

Result<void> RuntimeState::close() { return shut_down(false); }

Result<void> RuntimeState::leave() {
  if (!options_.is_persistent()) return Error(ErrorCode::failed_precondition, "this runtime is not persistent").with_operation("runtime.leave");
  if (closed()) return Error(ErrorCode::failed_precondition, "this runtime is closed").with_operation("runtime.leave");
  return shut_down(true);
}

Result<void> RuntimeState::shut_down(bool leave) {
  std::lock_guard one_at_a_time(close_mutex_);
  if (closed_) return {};
  closed_ = true;
  {
    std::lock_guard lock(mutex_);
    closing_.store(true, std::memory_order_release);
    SANDBOX_SYNC_POINT("runtime.closing");
    for (auto& [ticket, waiter] : waiters_) waiter->changed.notify_one();
  }
  warm_changed_.notify_all();
  refillers_.stop();
  creators_.stop();
  {
    std::unique_lock lock(mutex_);
    idle_changed_.wait(lock, [&] { return in_flight_ == 0; });
  }

  std::vector<BoxPtr> boxes;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [token, weak] : boxes_)
      if (BoxPtr box = weak.lock()) boxes.push_back(std::move(box));
    for (const auto& [key, profile] : profiles_) profile->ready.clear();
    adopted_ = {};  // `boxes` has them
  }
  // Several at a time: each destruction mostly waits for the kernel.
  std::optional<Error> first_failure;
  {
    std::mutex result_mutex;
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      for (std::size_t i = next++; i < boxes.size(); i = next++) {
        auto closed = leave && boxes[i]->handed_out() ? boxes[i]->leave_behind() : boxes[i]->close();
        if (closed) continue;
        std::lock_guard lock(result_mutex);
        if (first_failure) closed.ignore("the first one is reported");
        else first_failure = std::move(closed).error();
      }
    };
    std::vector<std::thread> helpers;
    for (std::size_t i = 1; i < std::min<std::size_t>(8, (boxes.size() + 3) / 4); ++i)
      helpers.push_back(runtime::start_thread("sandbox-close", work));
    work();
    for (std::thread& helper : helpers) helper.join();
  }
  SANDBOX_SYNC_POINT("runtime.boxes_closed");
  boxes.clear();
  chores_.stop();
  {
    std::lock_guard lock(mutex_);
    default_profile_.reset();
    profiles_.clear();
  }
  for (const auto& backend : backends_) {
    auto closed = leave ? backend->leave() : backend->close();
    if (closed) continue;
    if (first_failure) closed.ignore("the first one is reported");
    else first_failure = std::move(closed).error();
  }
  monitor_.reset();
  if (reactor_) reactor_->stop();
  if (first_failure) return *std::move(first_failure);
  return {};
}

}  // namespace sandbox
