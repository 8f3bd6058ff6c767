#include "server/lifecycle.hpp"

#include <gtest/gtest.h>

namespace sandbox::server {
namespace {

using namespace std::chrono_literals;
using After = Lifecycle::After;
constexpr auto kResumeGrace = 30s;

const core::TimePoint kNow{100s};
const WallTime kWall{1'000'000s};

TEST(Lifecycle, WithoutTtlTheEndOfTheOnlySessionDestroys) {
  Lifecycle life(0s, kResumeGrace);
  life.attach_v1(1);
  EXPECT_EQ(life.detach(1, SessionEnd::closed, kNow, kWall), After::destroy);
}

TEST(Lifecycle, WithTtlItWaitsAndAReconnectCallsItOff) {
  Lifecycle life(60s, kResumeGrace);
  const auto first = life.attach_v1(1);
  EXPECT_FALSE(first.reconnected);
  EXPECT_FALSE(first.resumed);
  EXPECT_EQ(life.detach(1, SessionEnd::closed, kNow, kWall), After::disconnect);
  EXPECT_TRUE(life.disconnected());
  EXPECT_EQ(life.deadline(), kNow + 60s);
  EXPECT_FALSE(life.keep_tunnels());
  const auto again = life.attach_v1(2);
  EXPECT_TRUE(again.reconnected);
  EXPECT_TRUE(again.resumed);
  EXPECT_EQ(again.disconnected_at, kWall);
  EXPECT_FALSE(life.disconnected());
  EXPECT_EQ(life.deadline(), core::TimePoint::max());
}

TEST(Lifecycle, OnlyTheCurrentV1SessionCounts) {
  Lifecycle life(0s, kResumeGrace);
  life.attach_v1(1);
  const auto over = life.attach_v1(2);
  EXPECT_EQ(over.replaced, SessionNumber{1});
  EXPECT_FALSE(over.reconnected);
  EXPECT_FALSE(over.resumed);
  EXPECT_EQ(life.detach(1, SessionEnd::closed, kNow, kWall), After::nothing);
  EXPECT_EQ(life.current_v1(), SessionNumber{2});
  EXPECT_EQ(life.detach(2, SessionEnd::closed, kNow, kWall), After::destroy);
}

TEST(Lifecycle, EndsOnceHoweverOftenItIsTold) {
  Lifecycle life(0s, kResumeGrace);
  life.attach_v2(1);
  EXPECT_EQ(life.detach(1, SessionEnd::closed, kNow, kWall), After::destroy);
  EXPECT_EQ(life.detach(1, SessionEnd::closed, kNow, kWall), After::nothing);
  EXPECT_EQ(life.detach(7, SessionEnd::cut, kNow, kWall), After::nothing);
}

TEST(Lifecycle, ACutV2SessionMayComeBack) {
  Lifecycle life(0s, kResumeGrace);
  life.attach_v2(1);
  EXPECT_EQ(life.detach(1, SessionEnd::cut, kNow, kWall), After::disconnect);
  EXPECT_EQ(life.deadline(), kNow + kResumeGrace);
  EXPECT_TRUE(life.keep_tunnels());
  EXPECT_TRUE(life.attach_v2(2).reconnected);
  EXPECT_EQ(life.detach(2, SessionEnd::closed, kNow + 31s, kWall), After::destroy);
}

TEST(Lifecycle, TheGraceOfACutSessionOutlastsACloseBesideIt) {
  Lifecycle life(0s, kResumeGrace);
  life.attach_v2(1);
  life.attach_v1(2);
  EXPECT_EQ(life.detach(1, SessionEnd::cut, kNow, kWall), After::nothing);
  EXPECT_EQ(life.detach(2, SessionEnd::closed, kNow + 10s, kWall), After::disconnect);
  EXPECT_EQ(life.deadline(), kNow + kResumeGrace);
}

TEST(Lifecycle, TheLongerOfTtlAndGraceHolds) {
  Lifecycle life(3600s, kResumeGrace);
  life.attach_v2(1);
  EXPECT_EQ(life.detach(1, SessionEnd::cut, kNow, kWall), After::disconnect);
  EXPECT_EQ(life.deadline(), kNow + 3600s);
}

TEST(Lifecycle, AV1SessionThatBreaksIsLikeOneThatCloses) {
  Lifecycle life(0s, kResumeGrace);
  life.attach_v1(1);
  EXPECT_EQ(life.detach(1, SessionEnd::cut, kNow, kWall), After::destroy);
}

TEST(Lifecycle, SeveralV2SessionsShareASandbox) {
  Lifecycle life(0s, kResumeGrace);
  life.attach_v2(1);
  life.attach_v2(2);
  EXPECT_EQ(life.sessions(), 2u);
  EXPECT_EQ(life.detach(1, SessionEnd::closed, kNow, kWall), After::nothing);
  EXPECT_EQ(life.detach(2, SessionEnd::closed, kNow, kWall), After::destroy);
}

TEST(Lifecycle, ARestoredOneKeepsItsDeadline) {
  Lifecycle life(60s, kResumeGrace);
  life.restore(true, kWall, kNow + 5s, false, true);
  EXPECT_TRUE(life.disconnected());
  EXPECT_EQ(life.deadline(), kNow + 5s);
  const auto back = life.attach_v1(1);
  EXPECT_TRUE(back.reconnected);
  EXPECT_TRUE(back.resumed);
  EXPECT_EQ(back.disconnected_at, kWall);
}

TEST(Lifecycle, OneThatNeverHadASessionWaitsForEver) {
  Lifecycle life(60s, kResumeGrace);
  EXPECT_EQ(life.deadline(), core::TimePoint::max());
  life.restore(false, {}, kNow, false, false);
  EXPECT_FALSE(life.disconnected());
  EXPECT_EQ(life.deadline(), core::TimePoint::max());
}

}  // namespace
}  // namespace sandbox::server
