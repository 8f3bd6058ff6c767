#include "server/rate_limit.hpp"

#include <gtest/gtest.h>

#include "clock.hpp"

using namespace sandbox::server;
using namespace std::chrono_literals;

TEST(RateLimiter, AdmitsMaxHitsPerWindow) {
  ManualClock clock;
  RateLimiter limiter({3, 60s, 10}, clock);
  EXPECT_TRUE(limiter.admit("a"));
  EXPECT_TRUE(limiter.admit("a"));
  EXPECT_TRUE(limiter.admit("a"));
  EXPECT_FALSE(limiter.admit("a"));
  EXPECT_TRUE(limiter.admit("b"));
}

TEST(RateLimiter, ASteadyClientBelowTheRateIsNeverBlocked) {
  // The original counts hits without a pause of a minute, and blocks this client at the 21st.
  ManualClock clock;
  RateLimiter limiter({20, 60s, 10}, clock);
  for (int i = 0; i < 200; ++i, clock.advance(4s)) EXPECT_TRUE(limiter.admit("a")) << i;
}

TEST(RateLimiter, AnOldHitMakesRoomForOne) {
  ManualClock clock;
  RateLimiter limiter({2, 60s, 10}, clock);
  EXPECT_TRUE(limiter.admit("a"));
  clock.advance(30s);
  EXPECT_TRUE(limiter.admit("a"));
  clock.advance(29s);
  EXPECT_FALSE(limiter.admit("a"));
  clock.advance(1s);
  EXPECT_TRUE(limiter.admit("a"));
  EXPECT_FALSE(limiter.admit("a"));
}

TEST(RateLimiter, BlockedAttemptsDoNotCount) {
  ManualClock clock;
  RateLimiter limiter({1, 60s, 10}, clock);
  EXPECT_TRUE(limiter.admit("a"));
  for (int i = 0; i < 59; ++i) {
    clock.advance(1s);
    EXPECT_FALSE(limiter.admit("a"));
  }
  clock.advance(1s);
  EXPECT_TRUE(limiter.admit("a"));
}

TEST(RateLimiter, ForgetsTheKeyUnusedLongestWhenFull) {
  ManualClock clock;
  RateLimiter limiter({1, 60s, 2}, clock);
  limiter.record("a");
  clock.advance(1s);
  limiter.record("b");
  clock.advance(1s);
  limiter.record("c");
  EXPECT_EQ(limiter.size(), 2u);
  EXPECT_FALSE(limiter.blocked("a"));
  EXPECT_TRUE(limiter.blocked("b"));
  EXPECT_TRUE(limiter.blocked("c"));
}

TEST(RateLimiter, KeysThatAreOldTakeNoRoom) {
  ManualClock clock;
  RateLimiter limiter({5, 60s, 1000}, clock);
  for (int i = 0; i < 500; ++i) limiter.record(std::to_string(i));
  clock.advance(60s);
  EXPECT_FALSE(limiter.blocked("x"));
  EXPECT_EQ(limiter.size(), 0u);
}

TEST(RateLimiter, ZeroIsNoLimitAndOptionsChangeLive) {
  ManualClock clock;
  RateLimiter limiter({0, 60s, 10}, clock);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(limiter.admit("a"));
  limiter.set_options({1, 60s, 10});
  EXPECT_TRUE(limiter.admit("a"));
  EXPECT_FALSE(limiter.admit("a"));
}
