#pragma once

#include <chrono>
#include <cstdint>

#include "core/clock.hpp"

namespace sandbox::pool {

struct PolicyOptions {
  std::uint32_t floor = 0;        ///< members wanted without any demand; 0 switches the pool off
  std::uint32_t max_warm = 64;    ///< most members ever wanted
  std::uint32_t max_refills = 2;  ///< refills of this pool at a time
  core::Duration half_life = std::chrono::seconds(10);       ///< after which past demand counts half
  core::Duration settle = std::chrono::milliseconds(5);      ///< a refill starts this long after a hand-out: the caller's
                                                             ///< first operation should not share its core with it, and a
                                                             ///< timer behind the kernel's tick costs 10 µs less to set
  core::Duration max_hold = std::chrono::seconds(1);         ///< creations by callers hold refills up no longer than this
  core::Duration backoff_min = std::chrono::milliseconds(100);
  core::Duration backoff_max = std::chrono::seconds(30);
  std::uint64_t seed = 1;         ///< of the back-off jitter
};

/// How many members one pool wants, and when to make them. Sans-I/O and not thread-safe: the owner reports what
/// happened and performs what due() and surplus() say.
///
/// target = max(floor, 2 × arrivals per second × refill time) + recent misses, at most max_warm. Arrivals and misses
/// decay with half_life, so the pool shrinks back to its floor after a burst. Half-way decayed misses stop counting.
class PoolPolicy {
 public:
  /// `clock` must outlive the policy.
  PoolPolicy(PolicyOptions options, const core::Clock& clock);

  // -- what happened ------------------------------------------------------------------------------------------------
  void set_floor(std::uint32_t floor);
  std::uint32_t floor() const noexcept { return options_.floor; }
  /// A member was handed out.
  void hit();
  /// A caller found none ready and makes (or waits for) its own.
  void miss();
  void refill_started();
  void refill_succeeded(core::Duration took);
  /// Backs off: the next refill starts after a jittered, doubling delay, alone until one succeeds.
  void refill_failed();
  /// A ready member ended by itself.
  void member_lost();
  /// A ready member was taken out because of surplus() or to make room.
  void member_discarded();
  /// No refills until resume(): the runtime is at its limit or closing.
  void pause() { paused_ = true; }
  void resume() { paused_ = false; }

  // -- what to do ---------------------------------------------------------------------------------------------------
  std::uint32_t target() const;
  /// Refills to start now. `foreground`: creations by callers under way in the whole runtime; refills give way to them.
  std::uint32_t due(std::uint32_t foreground);
  /// Ready members beyond the target.
  std::uint32_t surplus() const;
  /// When due() or surplus() may change without anything happening; TimePoint::max() for never.
  core::TimePoint next_wakeup() const;
  /// Whether the floor is reached.
  bool warm() const { return ready_ >= (options_.floor < options_.max_warm ? options_.floor : options_.max_warm); }

  // -- numbers ------------------------------------------------------------------------------------------------------
  std::uint32_t ready() const noexcept { return ready_; }
  std::uint32_t warming() const noexcept { return warming_; }
  std::uint64_t hits() const noexcept { return hits_; }
  std::uint64_t misses() const noexcept { return misses_; }
  std::uint64_t lost() const noexcept { return lost_; }
  std::uint64_t failures() const noexcept { return failures_; }
  core::Duration last_refill_time() const noexcept { return last_refill_; }

 private:
  /// A count of events whose weight halves every half-life.
  struct Decaying {
    double value = 0;
    core::TimePoint at{};
    double now(core::TimePoint time, core::Duration half_life) const;
    void add(core::TimePoint time, core::Duration half_life, double amount, double most);
  };
  double extra(core::TimePoint now) const;
  void arrival(core::TimePoint now);
  std::uint32_t deficit() const;

  PolicyOptions options_;
  const core::Clock& clock_;
  std::uint32_t ready_ = 0, warming_ = 0;
  std::uint64_t hits_ = 0, misses_ = 0, lost_ = 0, failures_ = 0;
  Decaying arrivals_, missed_;
  double refill_seconds_ = 0;  ///< smoothed
  core::Duration last_refill_{};
  core::TimePoint settle_until_{};
  core::TimePoint retry_at_{};
  core::TimePoint held_since_ = core::TimePoint::max();
  std::uint32_t consecutive_failures_ = 0;
  std::uint64_t random_;
  bool paused_ = false;
};

}  // namespace sandbox::pool
