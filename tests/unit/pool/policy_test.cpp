#include "pool/policy.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sandbox::pool {
namespace {

using namespace std::chrono_literals;

class TestClock : public core::Clock {
 public:
  core::TimePoint now() const noexcept override { return now_; }
  void advance(core::Duration time) { now_ += time; }

 private:
  core::TimePoint now_{1000s};
};

class PoolPolicyTest : public ::testing::Test {
 protected:
  PoolPolicy make(std::uint32_t floor, std::uint32_t max_warm = 64, std::uint32_t refills = 2) {
    PolicyOptions options;
    options.floor = floor;
    options.max_warm = max_warm;
    options.max_refills = refills;
    return PoolPolicy(options, clock_);
  }
  /// Does every refill that is due, each taking `took`; returns how many that were.
  int refill_all(PoolPolicy& policy, core::Duration took = 4ms) {
    int count = 0;
    clock_.advance(1ms);
    while (const std::uint32_t due = policy.due(0)) {
      for (std::uint32_t i = 0; i < due; ++i) policy.refill_started();
      clock_.advance(took);
      for (std::uint32_t i = 0; i < due; ++i, ++count) policy.refill_succeeded(took);
      EXPECT_LT(count, 1000);
    }
    return count;
  }
  TestClock clock_;
};

TEST_F(PoolPolicyTest, FillsToItsFloorAndNoFurther) {
  PoolPolicy policy = make(5);
  EXPECT_EQ(policy.target(), 5u);
  EXPECT_FALSE(policy.warm());
  EXPECT_EQ(refill_all(policy), 5);
  EXPECT_TRUE(policy.warm());
  EXPECT_EQ(policy.due(0), 0u);
  EXPECT_EQ(policy.next_wakeup(), core::TimePoint::max());
}

TEST_F(PoolPolicyTest, StartsAtMostItsConcurrency) {
  PoolPolicy policy = make(10, 64, 3);
  EXPECT_EQ(policy.due(0), 3u);
  policy.refill_started();
  EXPECT_EQ(policy.due(0), 2u);
  policy.refill_started();
  policy.refill_started();
  EXPECT_EQ(policy.due(0), 0u);
  policy.refill_succeeded(1ms);
  EXPECT_EQ(policy.due(0), 1u);
}

TEST_F(PoolPolicyTest, AFloorOfZeroSwitchesThePoolOff) {
  PoolPolicy policy = make(0);
  for (int i = 0; i < 100; ++i) policy.miss();
  EXPECT_EQ(policy.target(), 0u);
  EXPECT_EQ(policy.due(0), 0u);
}

TEST_F(PoolPolicyTest, LoweringTheFloorLeavesSurplusToDiscard) {
  PoolPolicy policy = make(4);
  refill_all(policy);
  policy.set_floor(0);
  EXPECT_EQ(policy.surplus(), 4u);
  policy.member_discarded();
  EXPECT_EQ(policy.surplus(), 3u);
}

TEST_F(PoolPolicyTest, ARefillWaitsUntilTheCallerHasSettled) {
  PoolPolicy policy = make(1);
  refill_all(policy);
  policy.hit();
  EXPECT_EQ(policy.due(0), 0u);
  EXPECT_EQ(policy.next_wakeup(), clock_.now() + PolicyOptions().settle);
  clock_.advance(PolicyOptions().settle);
  EXPECT_EQ(policy.due(0), 1u);
}

TEST_F(PoolPolicyTest, AStreamOfCallersDoesNotHoldRefillsBack) {
  PoolPolicy policy = make(8);
  refill_all(policy);
  for (int i = 0; i < 3; ++i) {
    policy.hit();
    clock_.advance(PolicyOptions().settle / 3 + 1us);
  }
  EXPECT_GT(policy.due(0), 0u);
}

TEST_F(PoolPolicyTest, GivesWayToCallersButNotForEver) {
  PoolPolicy policy = make(4);
  EXPECT_EQ(policy.due(3), 0u);
  EXPECT_EQ(policy.next_wakeup(), clock_.now() + 1s);
  clock_.advance(999ms);
  EXPECT_EQ(policy.due(1), 0u);
  clock_.advance(1ms);
  EXPECT_EQ(policy.due(1), 1u) << "one at a time while callers create";
  policy.refill_started();
  EXPECT_EQ(policy.due(1), 0u);
  EXPECT_EQ(policy.due(0), 1u) << "the other as soon as they are done";
}

TEST_F(PoolPolicyTest, MissesRaiseTheTargetUpToTheMaximum) {
  PoolPolicy policy = make(2, 16);
  policy.miss();
  policy.miss();
  policy.miss();
  EXPECT_EQ(policy.target(), 5u);
  for (int i = 0; i < 100; ++i) policy.miss();
  EXPECT_EQ(policy.target(), 16u);
  EXPECT_EQ(refill_all(policy), 16);
}

TEST_F(PoolPolicyTest, ArrivalsTimesRefillTimeRaiseTheTarget) {
  PoolPolicy policy = make(1);
  refill_all(policy, 200ms);
  for (int i = 0; i < 400; ++i) {  // 40 a second for ten seconds: half of the steady weight has built up
    policy.hit();
    clock_.advance(25ms);
  }
  EXPECT_GE(policy.target(), 6u);
  EXPECT_LE(policy.target(), 16u);
}

TEST_F(PoolPolicyTest, DemandDecaysBackToTheFloor) {
  PoolPolicy policy = make(2, 32);
  for (int i = 0; i < 30; ++i) policy.miss();
  refill_all(policy);
  EXPECT_EQ(policy.ready(), 32u);
  std::uint32_t last = 32;
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(policy.next_wakeup() == core::TimePoint::max(), policy.ready() == 2) << "must be asked again to shrink";
    clock_.advance(10s);
    EXPECT_LE(policy.target(), last);
    last = policy.target();
    while (policy.surplus() > 0) policy.member_discarded();
  }
  EXPECT_EQ(policy.target(), 2u);
  EXPECT_EQ(policy.ready(), 2u);
  EXPECT_EQ(policy.next_wakeup(), core::TimePoint::max());
}

TEST_F(PoolPolicyTest, BacksOffAfterFailuresAndProbesWithOne) {
  PoolPolicy policy = make(8, 64, 4);
  core::Duration last{};
  for (int i = 0; i < 12; ++i) {
    ASSERT_EQ(policy.due(0), i == 0 ? 4u : 1u);
    policy.refill_started();
    policy.refill_failed();
    EXPECT_EQ(policy.due(0), 0u);
    const core::Duration delay = policy.next_wakeup() - clock_.now();
    EXPECT_GE(delay, std::min<core::Duration>(30s, 100ms * (1 << i)) / 2);
    EXPECT_LE(delay, std::min<core::Duration>(30s, 100ms * (1 << i)));
    last = delay;
    clock_.advance(delay);
  }
  EXPECT_GE(last, 15s);
  EXPECT_EQ(policy.failures(), 12u);
  policy.refill_started();
  policy.refill_succeeded(1ms);
  EXPECT_EQ(policy.due(0), 4u) << "full speed again";
}

TEST_F(PoolPolicyTest, BackOffIsJittered) {
  PolicyOptions options;
  options.floor = 1;
  std::set<core::Duration> delays;
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    options.seed = seed * 7919;
    PoolPolicy policy(options, clock_);
    policy.refill_started();
    policy.refill_failed();
    delays.insert(policy.next_wakeup() - clock_.now());
  }
  EXPECT_GT(delays.size(), 8u);
}

TEST_F(PoolPolicyTest, ALostMemberIsReplacedAtOnce) {
  PoolPolicy policy = make(3);
  refill_all(policy);
  policy.member_lost();
  EXPECT_EQ(policy.due(0), 1u);
  EXPECT_EQ(policy.lost(), 1u);
}

TEST_F(PoolPolicyTest, PausedMeansNoRefills) {
  PoolPolicy policy = make(3);
  policy.pause();
  EXPECT_EQ(policy.due(0), 0u);
  EXPECT_EQ(policy.next_wakeup(), core::TimePoint::max());
  policy.resume();
  EXPECT_EQ(policy.due(0), 2u);
}

}  // namespace
}  // namespace sandbox::pool
