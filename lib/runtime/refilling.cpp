// The warm pools: what their threads do, and what is asked and said of them. Which pool wants how many is pool/policy.hpp, when a
// thread looks refill_threads.hpp.
#include <algorithm>

#include "core/sync_point.hpp"
#include "runtime/runtime_state.hpp"

namespace sandbox {

using runtime::LocalBox;
using runtime::Profile;

namespace {

constexpr auto kRefillDeadline = std::chrono::seconds(30);
/// All places taken: a refill looks again behind this, though nobody was heard to give one back.
constexpr auto kNoPlaceWait = std::chrono::milliseconds(10);

bool worth_waiting_for(const Error& error) {
  switch (error.code()) {
    case ErrorCode::unavailable:
    case ErrorCode::resource_exhausted:
    case ErrorCode::deadline_exceeded:
    case ErrorCode::cancelled: return true;
    default: return error.retry() != Retry::never;
  }
}

}  // namespace

/// What a refill thread does, until nothing is to be done at once; returns when to look again.
core::TimePoint RuntimeState::look_after_pools(std::unique_lock<std::mutex>& lock) {
  while (!closing_) {
    ProfilePtr neediest;
    BoxPtr extra;
    std::uint32_t due = 0;
    core::TimePoint wake = core::TimePoint::max();
    const std::uint32_t foreground = entrance_.callers();
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
    if (neediest && entrance_.try_refill()) {
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
    entrance_.place_free();
    profile->policy.refill_failed();
  }
  if (!made) {
    const std::string text = made.error().to_string();
    profile->last_failure = std::move(made).error();
    profile->last_failure->ignore("kept for wait_warm");
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
  if (!closing_ && entrance_.give(*profile, box)) {
    profile->policy.hit();
    hand_over(box);
    return;
  }
  if (closing_ || entrance_.crowded()) {
    // Somebody else waits for this place.
    profile->policy.member_discarded();
    lock.unlock();
    box->close().ignore("a caller waits for its place");
    box.reset();  // its own lock is never taken under ours
    lock.lock();
    return;
  }
  box->set_phase(LocalBox::Phase::warm);
  profile->ready.push_back(std::move(box));
  if (profile->policy.warm()) warm_changed_.notify_all();
  if (profile->policy.ready() >= profile->policy.target() && options_.on_event())
    emit(RuntimeEvent::Kind::pool_refilled, {}, profile->name + ": " + std::to_string(profile->policy.ready()) + " ready");
}

/// Closes one idle member of the pool that has most, if there is any.
void RuntimeState::discard_idle(std::unique_lock<std::mutex>& lock) {
  Profile* richest = nullptr;
  for (const auto& [key, profile] : profiles_)
    if (!profile->ready.empty() && (richest == nullptr || profile->ready.size() > richest->ready.size())) richest = profile.get();
  if (richest == nullptr) return;
  BoxPtr box = std::move(richest->ready.back());
  richest->ready.pop_back();
  richest->policy.member_discarded();
  lock.unlock();
  box->close().ignore("an idle member made room");
  box.reset();  // its own lock is never taken under ours
  lock.lock();
}

Result<void> RuntimeState::wait_warm(core::TimePoint deadline) {
  if (reactor_->on_this_thread()) return Error(ErrorCode::failed_precondition, "wait_warm() would block the runtime's own thread");
  std::unique_lock lock(mutex_);
  for (;;) {
    if (closing_) return runtime::closing_error();
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

}  // namespace sandbox
