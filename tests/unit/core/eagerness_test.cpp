#include "link/eagerness.hpp"

#include <gtest/gtest.h>

namespace sandbox::link {
namespace {

TEST(Eagerness, LooksWhileAnswersComeInTime) {
  Eagerness eager(true);
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(eager.worth(100, 1));
    eager.learned(true);
  }
}

TEST(Eagerness, ALateAnswerBetweenTwoInTimeCostsOneTrialOfSleeping) {
  Eagerness eager(true);
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(eager.worth(100, 1));
    eager.learned(true);
    EXPECT_TRUE(eager.worth(100, 1));
    eager.learned(false);
    EXPECT_FALSE(eager.worth(100, 1));
    eager.slept(2 * Eagerness::kLook);  // sleeping costs more
  }
}

TEST(Eagerness, SleepsWhereThatIsNoSlowerThanALook) {
  Eagerness eager(true);
  EXPECT_TRUE(eager.worth(100, 1));
  eager.learned(false);
  EXPECT_FALSE(eager.worth(100, 1));
  eager.slept(Eagerness::kLook / 2);
  for (int i = 0; i < Eagerness::kPause; ++i) {
    EXPECT_FALSE(eager.worth(100, 1));
    eager.slept(2 * Eagerness::kLook);  // the trial is over
  }
  EXPECT_TRUE(eager.worth(100, 1));
}

TEST(Eagerness, SleepsBehindBulkWithOthersAndOnOneProcessor) {
  Eagerness eager(true);
  EXPECT_FALSE(eager.worth(Eagerness::kSmall + 1, 1));
  EXPECT_FALSE(eager.worth(100, 2));
  EXPECT_TRUE(eager.worth(Eagerness::kSmall, 1));
  EXPECT_FALSE(Eagerness(false).worth(100, 1));
}

TEST(Eagerness, SlowAnswersCostAlmostNothing) {
  Eagerness eager(true);
  int looks = 0;
  for (int i = 0; i < 1000; ++i) {
    if (!eager.worth(100, 1)) continue;
    ++looks;
    eager.learned(false);
  }
  EXPECT_LE(looks, 1000 / Eagerness::kPause + Eagerness::kMisses);
  // Fast again: noticed after at most one pause.
  for (int i = 0; i < Eagerness::kPause + 1; ++i)
    if (eager.worth(100, 1)) eager.learned(true);
  EXPECT_TRUE(eager.worth(100, 1));
}

}  // namespace
}  // namespace sandbox::link
