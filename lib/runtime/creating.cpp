// What a caller of create() goes through: a ready member is taken, otherwise one is made as soon as it may be.
#include "core/sync_point.hpp"
#include "runtime/runtime_state.hpp"

namespace sandbox {

using runtime::Entrance;
using runtime::LocalBox;
using runtime::Profile;

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
  auto cancellation = std::make_shared<Entrance::Cancellation>();
  const bool posted = creators_.post([this, profile = *profile, options, deadline, cancellation, complete, note = std::move(note)] {
    auto box = create_slow(profile, options, deadline, cancellation.get(), note);
    if (box) complete(std::shared_ptr<driver::Box>(std::move(*box)));
    else complete(std::move(box).error());
  });
  if (!posted) complete(runtime::closing_error());
  return [weak = weak_from_this(), cancellation] {
    const auto self = weak.lock();
    if (!self) return;
    std::lock_guard lock(self->mutex_);
    self->entrance_.cancel(*cancellation);
  };
}

Result<RuntimeState::BoxPtr> RuntimeState::create_slow(const ProfilePtr& profile, const CreateOptions& options,
                                                       core::TimePoint deadline, Entrance::Cancellation* cancellation,
                                                       std::string_view note) {
  std::unique_lock lock(mutex_);
  if (closing_) return runtime::closing_error();
  if (cancellation != nullptr && cancellation->requested()) return Error(ErrorCode::cancelled, "the create was cancelled");
  ++in_flight_;
  profile->last_used = clock_.now();
  if (!options.is_cold()) profile->policy.miss();
  auto outcome = [&]() -> Result<BoxPtr> {
    // Idle members are worth less than a caller: one makes room.
    const auto make_room = [this](std::unique_lock<std::mutex>& held) { discard_idle(held); };
    SANDBOX_TRY(BoxPtr member, entrance_.enter(lock, *profile, deadline, cancellation, make_room));
    if (member) return member;
    lock.unlock();
    auto made = make(profile, deadline);
    lock.lock();
    entrance_.maker_done();
    if (made && (*made)->phase() == LocalBox::Phase::lost) {
      lock.unlock();
      (*made)->close().ignore("it had ended already");
      made = Error(ErrorCode::unavailable, "the sandbox ended as soon as it was made").with_operation("runtime.create").with_retry(Retry::now);
      lock.lock();
    } else if (!made) {
      entrance_.place_free();
    } else {
      hand_over(*made);
    }
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

}  // namespace sandbox
