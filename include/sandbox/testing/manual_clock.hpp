#pragma once

#include <chrono>

namespace sandbox::testing {

/// Time that moves only when a test says so. `Base` is the interface it stands in for, with a virtual
/// `TimePoint now() const noexcept`. Not thread-safe.
template <class Base>
class ManualClockOf : public Base {
 public:
  std::chrono::steady_clock::time_point now() const noexcept override { return now_; }
  void advance(std::chrono::steady_clock::duration by) noexcept { now_ += by; }

 private:
  // Not zero: a state machine that takes zero for "never" must not pass its tests.
  std::chrono::steady_clock::time_point now_{std::chrono::hours(1000)};
};

namespace detail {
struct AnyClock {
  virtual ~AnyClock() = default;
  virtual std::chrono::steady_clock::time_point now() const noexcept = 0;
};
}  // namespace detail

using ManualClock = ManualClockOf<detail::AnyClock>;

}  // namespace sandbox::testing
