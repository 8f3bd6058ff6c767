#include "runtime/refill_threads.hpp"

#include <gtest/gtest.h>

#include <condition_variable>

namespace sandbox::runtime {
namespace {

using namespace std::chrono_literals;
using core::SteadyClock;

/// Counts looks, each of which returns `next`.
class RefillThreadsTest : public ::testing::Test {
 protected:
  void start(unsigned count) {
    threads_.start(count, [this](std::unique_lock<std::mutex>& lock) {
      ++looks_;
      last_look_ = SteadyClock::now();
      changed_.notify_all();
      if (blocks_) changed_.wait(lock, [&] { return !blocks_; });
      return next_;
    }).value();
  }
  void plan(core::TimePoint when) {
    std::lock_guard lock(mutex_);
    threads_.plan(when);
  }
  /// Whether there were so many looks within `time`.
  bool wait_looks(int count, core::Duration time = 10s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, [&] { return looks_ >= count; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int looks_ = 0;
  core::TimePoint last_look_;
  core::TimePoint next_ = core::TimePoint::max();
  bool blocks_ = false;
  RefillThreads threads_{mutex_};
};

TEST_F(RefillThreadsTest, EachLooksOnceAndThenAtAPlannedTimeNotBefore) {
  start(2);
  ASSERT_TRUE(wait_looks(2));
  const auto when = SteadyClock::now() + 30ms;
  plan(when);
  plan(when + 1h);  // later than what is planned: nothing to add
  ASSERT_TRUE(wait_looks(3));
  EXPECT_GE(last_look_, when);
  EXPECT_FALSE(wait_looks(4, 50ms)) << "both looked for one plan";
}

TEST_F(RefillThreadsTest, AnEarlierPlanCountsWhileALaterOneStands) {
  start(1);
  ASSERT_TRUE(wait_looks(1));
  plan(SteadyClock::now() + 1h);
  plan(SteadyClock::now());
  EXPECT_TRUE(wait_looks(2));
}

TEST_F(RefillThreadsTest, LooksAgainWhenItsOwnLookSaidSo) {
  next_ = core::TimePoint::min();
  start(1);
  EXPECT_TRUE(wait_looks(100));
}

TEST_F(RefillThreadsTest, AnotherOneLooksWhileTheFirstIsAtWork) {
  blocks_ = true;
  start(2);
  EXPECT_TRUE(wait_looks(2));
  std::lock_guard lock(mutex_);
  blocks_ = false;
  changed_.notify_all();
}

TEST_F(RefillThreadsTest, StopWaitsForALookAndLaterPlansDoNothing) {
  start(2);
  ASSERT_TRUE(wait_looks(2));
  threads_.stop();
  plan(SteadyClock::now());
  EXPECT_EQ(looks_, 2);
}

}  // namespace
}  // namespace sandbox::runtime
