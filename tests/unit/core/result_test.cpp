#include <sandbox/result.hpp>

#include <gtest/gtest.h>

#include <memory>

namespace sandbox {
namespace {

Result<int> parse(bool good) {
  if (!good) return Error(ErrorCode::invalid_argument, "bad");
  return 7;
}
Result<int> twice(bool good) {
  SANDBOX_TRY(const int n, parse(good));
  return 2 * n;
}
Result<void> check(bool good) {
  SANDBOX_CHECK(parse(good).has_value() ? Result<void>() : Result<void>(Error(ErrorCode::internal, "check")));
  return {};
}

TEST(Result, TryPassesTheValueOrReturnsTheError) {
  EXPECT_EQ(*twice(true), 14);
  const auto failed = twice(false);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ErrorCode::invalid_argument);
}

TEST(Result, CheckReturnsTheErrorOfAVoidCall) {
  EXPECT_TRUE(check(true));
}

TEST(Result, ValueThrowsAnExceptionThatCarriesTheError) {
  try {
    (void)parse(false).value();
    FAIL();
  } catch (const Exception& e) {
    EXPECT_STREQ(e.what(), "bad [invalid_argument]");
    EXPECT_EQ(e.error().code(), ErrorCode::invalid_argument);
  }
}

TEST(Result, HoldsMoveOnlyValues) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(3));
  EXPECT_EQ(**std::move(result), 3);
}

}  // namespace
}  // namespace sandbox
