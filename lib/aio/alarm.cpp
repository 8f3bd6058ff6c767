#include "aio/alarm.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace sandbox::aio {

Result<Alarm> Alarm::make() {
  core::UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  if (!timer) return Error::from_errno(errno, "aio.alarm");
  return Alarm(std::move(timer));
}

void Alarm::set(core::TimePoint when) const noexcept {
  itimerspec time{};  // zero: disarmed
  if (when != core::TimePoint::max()) {
    const auto ns = std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count(), 1);
    time.it_value = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  }
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &time, nullptr);  // cannot fail: the descriptor and the time are ours
}

void Alarm::sleep() const noexcept {
  std::uint64_t rung = 0;
  while (::read(timer_.get(), &rung, sizeof rung) < 0 && errno == EINTR) {
  }
}

}  // namespace sandbox::aio
