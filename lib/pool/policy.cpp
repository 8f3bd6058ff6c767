#include "pool/policy.hpp"

#include <algorithm>
#include <cmath>

namespace sandbox::pool {
namespace {

double seconds(core::Duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

double PoolPolicy::Decaying::now(core::TimePoint time, core::Duration half_life) const {
  if (value == 0) return 0;
  return value * std::exp2(-seconds(time - at) / seconds(half_life));
}

void PoolPolicy::Decaying::add(core::TimePoint time, core::Duration half_life, double amount, double most) {
  value = std::min(now(time, half_life) + amount, most);
  at = time;
}

PoolPolicy::PoolPolicy(PolicyOptions options, const core::Clock& clock)
    : options_(options), clock_(clock), random_(options.seed | 1) {}

void PoolPolicy::set_floor(std::uint32_t floor) { options_.floor = floor; }

void PoolPolicy::arrival(core::TimePoint now) {
  arrivals_.add(now, options_.half_life, 1, 1e9);
  // Only the first hand-out from a full pool holds refills back: a steady stream of callers must not do so for ever.
  if (deficit() == 0) settle_until_ = now + options_.settle;
}

void PoolPolicy::hit() {
  ++hits_;
  arrival(clock_.now());
  if (ready_ > 0) --ready_;
}

void PoolPolicy::miss() {
  ++misses_;
  const core::TimePoint now = clock_.now();
  arrival(now);
  missed_.add(now, options_.half_life, 1, options_.max_warm);
}

void PoolPolicy::refill_started() {
  ++warming_;
  held_since_ = core::TimePoint::max();
}

void PoolPolicy::refill_succeeded(core::Duration took) {
  if (warming_ > 0) --warming_;
  ++ready_;
  consecutive_failures_ = 0;
  retry_at_ = {};
  last_refill_ = took;
  // Smoothed, but never below what was just seen by much: too many ready members cost memory, too few cost latency.
  refill_seconds_ = refill_seconds_ == 0 ? seconds(took) : refill_seconds_ * 0.8 + seconds(took) * 0.2;
}

void PoolPolicy::refill_failed() {
  if (warming_ > 0) --warming_;
  ++failures_;
  const std::uint32_t doublings = std::min(consecutive_failures_++, 20u);
  const core::Duration full = std::min(options_.backoff_max, options_.backoff_min * (std::int64_t{1} << doublings));
  // xorshift64: jitter between one half and all of the delay, so that many pools do not retry in step.
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  const double share = 0.5 + static_cast<double>(random_ % 1024) / 2048.0;
  retry_at_ = clock_.now() + std::chrono::duration_cast<core::Duration>(full * share);
}

void PoolPolicy::member_lost() {
  if (ready_ > 0) --ready_;
  ++lost_;
}

void PoolPolicy::member_discarded() {
  if (ready_ > 0) --ready_;
}

double PoolPolicy::extra(core::TimePoint now) const {
  const double rate = arrivals_.now(now, options_.half_life) * std::log(2.0) / seconds(options_.half_life);
  const double by_rate = std::ceil(2 * rate * refill_seconds_ - 0.5);
  const double above_floor = std::max(0.0, by_rate - options_.floor);
  return above_floor + std::floor(missed_.now(now, options_.half_life) + 0.499);
}

std::uint32_t PoolPolicy::target() const {
  if (options_.floor == 0) return 0;
  const double wanted = options_.floor + extra(clock_.now());
  return static_cast<std::uint32_t>(std::min<double>(wanted, options_.max_warm));
}

std::uint32_t PoolPolicy::deficit() const {
  const std::uint32_t wanted = target(), have = ready_ + warming_;
  return wanted > have ? wanted - have : 0;
}

std::uint32_t PoolPolicy::due(std::uint32_t foreground) {
  const core::TimePoint now = clock_.now();
  const std::uint32_t missing = deficit();
  if (paused_ || missing == 0 || now < retry_at_ || now < settle_until_) return 0;
  std::uint32_t most = consecutive_failures_ > 0 ? 1 : options_.max_refills;
  if (foreground > 0) {
    if (held_since_ == core::TimePoint::max()) held_since_ = now;
    if (now - held_since_ < options_.max_hold) return 0;
    most = 1;
  } else {
    held_since_ = core::TimePoint::max();
  }
  return most > warming_ ? std::min(missing, most - warming_) : 0;
}

std::uint32_t PoolPolicy::surplus() const {
  const std::uint32_t wanted = target();
  return ready_ > wanted ? ready_ - wanted : 0;
}

core::TimePoint PoolPolicy::next_wakeup() const {
  core::TimePoint next = core::TimePoint::max();
  const core::TimePoint now = clock_.now();
  if (!paused_ && deficit() > 0) {
    if (retry_at_ > now) next = std::min(next, retry_at_);
    else if (settle_until_ > now) next = std::min(next, settle_until_);
    else if (held_since_ != core::TimePoint::max()) next = std::min(next, held_since_ + options_.max_hold);
  }
  if (options_.floor > 0 && ready_ > options_.floor) next = std::min(next, now + options_.half_life / 4);
  return next;
}

}  // namespace sandbox::pool
