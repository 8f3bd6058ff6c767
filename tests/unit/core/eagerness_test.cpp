#include "core/eagerness.hpp"

#include <gtest/gtest.h>

namespace sandbox::core {
namespace {

constexpr auto kSoon = Eagerness::kLook / 2;
constexpr auto kLater = 2 * Eagerness::kLook;

/// `count` looks that something came `took` after.
void come(Eagerness& eager, int count, Eagerness::Time took = kSoon) {
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE(eager.worth(100, 1));
    eager.learned(true, took);
  }
}
void miss(Eagerness& eager) {
  EXPECT_TRUE(eager.worth(100, 1));
  eager.learned(false, eager.span());
}
/// The waits until one is worth a look again, which it is not yet asked about.
int sleeps(Eagerness& eager) {
  int count = 0;
  while (!eager.worth(100, 1)) {
    eager.slept(kLater);
    if (++count > 10'000) return count;
  }
  return count;
}

TEST(Eagerness, LooksWhileAnswersComeInTime) {
  Eagerness eager(true);
  come(eager, 100);
  EXPECT_EQ(eager.span(), Eagerness::kLook);
}

TEST(Eagerness, ALateAnswerBetweenTwoInTimeCostsOneTrialOfSleeping) {
  Eagerness eager(true);
  for (int i = 0; i < 100; ++i) {
    come(eager, 1);
    miss(eager);
    EXPECT_FALSE(eager.worth(100, 1));
    eager.slept(kLater);  // sleeping costs more
  }
}

TEST(Eagerness, SleepsWhereThatIsNoSlowerThanALook) {
  Eagerness eager(true);
  miss(eager);
  EXPECT_FALSE(eager.worth(100, 1));
  eager.slept(kSoon);
  EXPECT_EQ(sleeps(eager), Eagerness::kPause);
}

TEST(Eagerness, SleepsBehindBulkWithOthersAndOnOneProcessor) {
  Eagerness eager(true);
  EXPECT_FALSE(eager.worth(Eagerness::kSmall + 1, 1));
  EXPECT_FALSE(eager.worth(100, 2));
  EXPECT_TRUE(eager.worth(Eagerness::kSmall, 1));
  EXPECT_FALSE(Eagerness(false).worth(100, 1));
}

TEST(Eagerness, AnEndThatWasLongQuickIsGivenTimeToWakeUp) {
  Eagerness eager(true);
  come(eager, Eagerness::kQuick);
  miss(eager);
  ASSERT_TRUE(eager.worth(100, 1));
  EXPECT_EQ(eager.span(), Eagerness::kLong);
  eager.learned(true, kLater);  // it was: while its answers take so long, so do the looks
  come(eager, 10, kLater);
  EXPECT_EQ(eager.span(), Eagerness::kLong);
  come(eager, 1, kSoon);
  EXPECT_EQ(eager.span(), Eagerness::kLook);
}

TEST(Eagerness, TheLookBehindAPauseIsLongEnoughForTheOtherEndToWakeUp) {
  Eagerness eager(true);
  miss(eager);
  EXPECT_EQ(sleeps(eager), 1);
  eager.learned(false, eager.span());
  EXPECT_EQ(sleeps(eager), Eagerness::kPause);
  EXPECT_EQ(eager.span(), Eagerness::kLong);
  eager.learned(true, kLater);
  come(eager, 1, kSoon);
  EXPECT_EQ(eager.span(), Eagerness::kLook);
}

TEST(Eagerness, TwoEndsThatSleepFindEachOtherAgain) {
  // Each end's message takes kSoon when the other looks, and kLater when it must be woken.
  Eagerness ends[2] = {Eagerness(true), Eagerness(true, Eagerness::kPause)};
  bool looks[2] = {false, false};
  int woken = 0;
  for (int i = 0; i < 2000; ++i) {
    const int asker = i % 2;
    looks[asker] = ends[asker].worth(100, 1);
    const auto span = ends[asker].span();
    // The other end answers: at once if its own look, which began behind its last message, has lasted until now.
    const auto took = looks[1 - asker] ? kSoon : kLater;
    if (looks[asker]) {
      ends[asker].learned(took <= span, took);
      looks[asker] = took <= span;
    } else {
      ends[asker].slept(took);
    }
    if (i >= 1000 && took == kLater) ++woken;
  }
  EXPECT_EQ(woken, 0);
}

TEST(Eagerness, SlowAnswersCostAlmostNothing) {
  Eagerness eager(true);
  int looks = 0;
  for (int i = 0; i < 10'000; ++i) {
    if (!eager.worth(100, 1)) continue;
    ++looks;
    eager.learned(false, eager.span());
  }
  EXPECT_LE(looks, 10'000 / Eagerness::kLongestPause + 8);
  // Fast again: noticed after at most one pause.
  for (int i = 0; i < Eagerness::kLongestPause + 1; ++i)
    if (eager.worth(100, 1)) eager.learned(true, kSoon);
  EXPECT_TRUE(eager.worth(100, 1));
}

}  // namespace
}  // namespace sandbox::core
