#pragma once

#include <sandbox/result.hpp>

#include "core/clock.hpp"
#include "core/unique_fd.hpp"

namespace sandbox::aio {

/// A time for one thread to wake up at, set by any. Unlike a condition variable's notify, setting it costs one small system call
/// and wakes nobody before its time: where the other processor has halted, waking a thread there takes tens of microseconds
/// of the caller, and then that thread competes with whoever the caller answers next. For work that may begin a little late: 5 ms
/// or more, behind the kernel's next tick (250 per second), cost 5 µs to set on such a machine, an earlier time 15.
class Alarm {
 public:
  /// Set to never. Errors: resource_exhausted (descriptors).
  static Result<Alarm> make();

  /// Replaces the time set before; one that has passed rings at once, TimePoint::max() never. Thread-safe.
  void set(core::TimePoint when) const noexcept;
  /// Until it rings; once for each time set. One thread.
  void sleep() const noexcept;

 private:
  explicit Alarm(core::UniqueFd timer) noexcept : timer_(std::move(timer)) {}
  core::UniqueFd timer_;
};

}  // namespace sandbox::aio
