#pragma once

#include <algorithm>
#include <chrono>

namespace sandbox::core {

using SteadyClock = std::chrono::steady_clock;
using TimePoint = SteadyClock::time_point;
using Duration = SteadyClock::duration;

/// What is left until `deadline`, as poll takes it: rounded up, so that a wait does not end before; -1 where there is none.
inline int poll_timeout(TimePoint deadline) noexcept {
  if (deadline == TimePoint::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now()).count();
  return static_cast<int>(std::clamp<long>(left, 0, 1 << 30));
}

/// Where state machines read the time; tests give them a ManualClock (<sandbox/testing/manual_clock.hpp>).
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const noexcept { return SteadyClock::now(); }
};

}  // namespace sandbox::core
