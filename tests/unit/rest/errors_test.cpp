#include <gtest/gtest.h>

#include "rest/rest.hpp"

namespace sandbox::rest {
namespace {

TEST(RestErrors, KeepTheirCode) {
  for (int i = 1; i <= 14; ++i) {
    const auto code = static_cast<ErrorCode>(i);
    const Error back = read_error(status_of(code), write_error(code, "what"));
    EXPECT_EQ(back.code(), code);
    EXPECT_EQ(back.message(), "what");
    EXPECT_EQ(code_of(name(code)), code);
  }
}

TEST(RestErrors, FallBackOnTheStatus) {
  EXPECT_EQ(read_error(404, R"({"error":"sandbox not found"})").code(), ErrorCode::not_found);
  EXPECT_EQ(read_error(404, R"({"error":"sandbox not found"})").message(), "sandbox not found");
  const Error full = read_error(503, R"({"error":"at capacity"})");
  EXPECT_EQ(full.code(), ErrorCode::unavailable);
  EXPECT_EQ(full.retry(), Retry::after_backoff);
  EXPECT_EQ(read_error(405, "Method Not Allowed\n").message(), "Method Not Allowed");
  EXPECT_EQ(read_error(502, "<html>whatever").code(), ErrorCode::unavailable);
  EXPECT_EQ(read_error(500, "").message(), "the daemon answered with status 500");
  EXPECT_EQ(read_error(500, R"({"error":"x","code":"no such code"})").code(), ErrorCode::internal);
  EXPECT_EQ(read_error(302, "").code(), ErrorCode::protocol);
}

TEST(RestErrors, KeepUntrustedTextHarmless) {
  const Error error = read_error(400, "{\"error\":\"a\\u001b[2Jb\"}");
  EXPECT_EQ(error.message().find('\x1b'), std::string::npos);
  EXPECT_LE(read_error(400, R"({"error":")" + std::string(1 << 20, 'x') + "\"}").message().size(), 8192u);
}

}  // namespace
}  // namespace sandbox::rest
