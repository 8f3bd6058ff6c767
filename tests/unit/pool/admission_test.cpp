#include "pool/admission.hpp"

#include <gtest/gtest.h>

namespace sandbox::pool {
namespace {

using namespace std::chrono_literals;
constexpr core::TimePoint kStart{1000s};

TEST(Admission, BoundsSandboxesAlive) {
  Admission admission(2, 8);
  EXPECT_TRUE(admission.try_enter());
  EXPECT_TRUE(admission.try_enter());
  EXPECT_TRUE(admission.full());
  EXPECT_FALSE(admission.try_enter());
  admission.maker_done();
  EXPECT_FALSE(admission.try_enter()) << "a made sandbox keeps its place";
  admission.place_free();
  EXPECT_TRUE(admission.try_enter());
}

TEST(Admission, BoundsCreationsAtATime) {
  Admission admission(100, 2);
  EXPECT_TRUE(admission.try_enter());
  EXPECT_TRUE(admission.try_enter());
  EXPECT_FALSE(admission.try_enter());
  EXPECT_FALSE(admission.full());
  admission.maker_done();
  EXPECT_TRUE(admission.try_enter());
}

TEST(Admission, LetsWaitersInInTheOrderTheyCame) {
  Admission admission(1, 1);
  ASSERT_TRUE(admission.try_enter());
  const auto first = admission.wait(kStart + 1s), second = admission.wait(kStart + 1s);
  EXPECT_EQ(admission.grant(), std::nullopt);
  admission.maker_done();
  admission.place_free();
  EXPECT_FALSE(admission.try_enter()) << "nobody overtakes the queue";
  EXPECT_FALSE(admission.try_refill()) << "nor does a refill";
  EXPECT_EQ(admission.grant(), first);
  EXPECT_EQ(admission.grant(), std::nullopt);
  admission.maker_done();
  admission.place_free();
  EXPECT_EQ(admission.grant(), second);
  EXPECT_EQ(admission.waiting(), 0u);
}

TEST(Admission, AWaiterMayLeave) {
  Admission admission(1, 1);
  ASSERT_TRUE(admission.try_enter());
  const auto first = admission.wait(kStart), second = admission.wait(kStart);
  EXPECT_TRUE(admission.leave(first));
  EXPECT_FALSE(admission.leave(first));
  admission.maker_done();
  admission.place_free();
  EXPECT_EQ(admission.grant(), second);
}

TEST(Admission, ExpiresOnlyThoseWhoseTimeHasCome) {
  Admission admission(1, 1);
  ASSERT_TRUE(admission.try_enter());
  const auto a = admission.wait(kStart + 1s), b = admission.wait(kStart + 3s), c = admission.wait(kStart + 2s);
  EXPECT_TRUE(admission.expire(kStart).empty());
  EXPECT_EQ(admission.expire(kStart + 2s), (std::vector<Admission::Ticket>{a, c}));
  admission.maker_done();
  admission.place_free();
  EXPECT_EQ(admission.grant(), b);
}

TEST(Admission, TenfoldOverloadServesEveryoneInOrder) {
  Admission admission(10, 4);
  std::vector<Admission::Ticket> tickets, served;
  std::deque<int> running;
  int entered = 0;
  for (int i = 0; i < 100; ++i) {
    if (admission.try_enter()) ++entered;
    else tickets.push_back(admission.wait(kStart + 1h));
  }
  EXPECT_EQ(entered, 4);
  int alive = 0;
  while (served.size() < tickets.size()) {
    while (admission.making() > 0) admission.maker_done(), ++alive;
    while (alive > 0) admission.place_free(), --alive;
    while (const auto ticket = admission.grant()) served.push_back(*ticket);
    ASSERT_LE(admission.used(), 10u);
    ASSERT_LE(admission.making(), 4u);
  }
  EXPECT_EQ(served, tickets);
}

}  // namespace
}  // namespace sandbox::pool
