#include "aio/alarm.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace sandbox::aio {
namespace {

using namespace std::chrono_literals;
using core::SteadyClock;

TEST(Alarm, RingsAtItsTimeAndNotBefore) {
  const auto alarm = Alarm::make().value();
  const auto when = SteadyClock::now() + 20ms;
  alarm.set(when);
  alarm.sleep();
  EXPECT_GE(SteadyClock::now(), when);
}

TEST(Alarm, ATimeThatHasPassedRingsAtOnceAndIsKeptForWhoSleepsLater) {
  const auto alarm = Alarm::make().value();
  alarm.set(core::TimePoint::min());
  alarm.sleep();
  alarm.set(SteadyClock::now() - 1s);
  alarm.sleep();
}

TEST(Alarm, AnEarlierTimeWakesASleeperThatWaitsForALaterOne) {
  const auto alarm = Alarm::make().value();
  alarm.set(SteadyClock::now() + 1h);
  std::atomic<bool> woke = false;
  std::thread sleeper([&] {
    alarm.sleep();
    woke = true;
  });
  EXPECT_FALSE(woke);
  alarm.set(SteadyClock::now());
  sleeper.join();
  EXPECT_TRUE(woke);
}

TEST(Alarm, NeverTakesBackATimeThatHasNotCome) {
  const auto alarm = Alarm::make().value();
  alarm.set(SteadyClock::now() + 5ms);
  alarm.set(core::TimePoint::max());
  std::atomic<bool> woke = false;
  std::thread sleeper([&] {
    alarm.sleep();
    woke = true;
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(woke);
  alarm.set(SteadyClock::now());
  sleeper.join();
}

}  // namespace
}  // namespace sandbox::aio
