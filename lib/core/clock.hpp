#pragma once
#include <chrono>

namespace sandbox::core {

using SteadyClock = std::chrono::steady_clock;
using TimePoint = SteadyClock::time_point;
using Duration = SteadyClock::duration;

/// Where state machines read the time; tests give them a ManualClock (<sandbox/testing/manual_clock.hpp>).
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const noexcept { return SteadyClock::now(); }
};

}  // namespace sandbox::core
