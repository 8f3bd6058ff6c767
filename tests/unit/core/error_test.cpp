#include <sandbox/error.hpp>

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace sandbox {
namespace {

TEST(Error, FromErrnoNamesStepCauseAndCode) {
  const Error error = Error::from_errno(EPERM, "native.mount", "/proc");
  EXPECT_EQ(error.code(), ErrorCode::permission_denied);
  EXPECT_EQ(error.sys_errno(), EPERM);
  EXPECT_EQ(error.to_string(), "native.mount: /proc: Operation not permitted (EPERM) [permission_denied]");
}

TEST(Error, CopiesAreIndependentOnceOneChanges) {
  const Error first(ErrorCode::not_found, "gone");
  const Error second = Error(first).with_context("reading").with_detail("path", "/x");
  EXPECT_EQ(first.message(), "gone");
  EXPECT_TRUE(first.details().empty());
  EXPECT_EQ(second.message(), "reading: gone");
  EXPECT_EQ(second.details().front().second, "/x");
}

TEST(Error, CauseIsKeptAndPrinted) {
  const Error error = Error(ErrorCode::unavailable, "no sandbox").with_cause(Error(ErrorCode::not_found, "no file"));
  ASSERT_NE(error.cause(), nullptr);
  EXPECT_EQ(error.to_string(), "no sandbox [unavailable]; because no file [not_found]");
}

TEST(Error, UntrustedTextCannotMoveTheCursor) {
  EXPECT_EQ(Error(ErrorCode::internal, "a\x1b[2Jb\n").to_string(), "a\\x1b[2Jb\\x0a [internal]");
}

#if defined(SANDBOX_CHECK_ERRORS)
TEST(ErrorDeathTest, DroppingOneUnreadAborts) {
  EXPECT_DEATH({ auto error = std::make_unique<Error>(ErrorCode::internal, "nobody looked"); error.reset(); }, "nobody looked");
}
#endif

}  // namespace
}  // namespace sandbox
