#include "core/sync_point.hpp"

#include <gtest/gtest.h>

namespace sandbox::core {
namespace {

TEST(SyncPoint, RunsTheScriptWhileItLivesAndNothingAfterwards) {
#if defined(NDEBUG)
  GTEST_SKIP() << "sync points are compiled out of release builds";
#else
  int reached = 0;
  SANDBOX_SYNC_POINT("test.point");
  {
    SyncScript script;
    script.on("test.point", [&] { ++reached; });
    SANDBOX_SYNC_POINT("test.point");
    SANDBOX_SYNC_POINT("test.other");
    EXPECT_EQ(reached, 1);
  }
  SANDBOX_SYNC_POINT("test.point");
  EXPECT_EQ(reached, 1);
#endif
}

}  // namespace
}  // namespace sandbox::core
