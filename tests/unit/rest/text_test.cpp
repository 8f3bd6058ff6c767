#include <gtest/gtest.h>

#include "rest/rest.hpp"
#include "support/failure.hpp"

namespace sandbox::rest {
namespace {

using namespace std::chrono_literals;

TEST(RestTime, WritesUtcWithoutTrailingZeros) {
  EXPECT_EQ(write_time(WallTime(1767225600s)), "2026-01-01T00:00:00Z");
  EXPECT_EQ(write_time(WallTime(1767225600s + 250ms)), "2026-01-01T00:00:00.25Z");
  EXPECT_EQ(write_time(WallTime(1767225600s + 1ns)), "2026-01-01T00:00:00.000000001Z");
  EXPECT_EQ(write_time_seconds(WallTime(1767225600s + 999ms)), "2026-01-01T00:00:00Z");
  EXPECT_EQ(write_time(WallTime(-1ns)), "1969-12-31T23:59:59.999999999Z");
}

TEST(RestTime, ReadsZonesFractionsAndLeapYears) {
  EXPECT_EQ(read_time("2026-01-01T00:00:00Z").value(), WallTime(1767225600s));
  EXPECT_EQ(read_time("2026-01-01T02:30:00+02:30").value(), WallTime(1767225600s));
  EXPECT_EQ(read_time("2025-12-31t23:00:00.5-01:00").value(), WallTime(1767225600s + 500ms));
  EXPECT_EQ(read_time("2026-01-01T00:00:00.1234567899Z").value(), WallTime(1767225600s + 123456789ns)) << "the tenth digit";
  EXPECT_TRUE(read_time("2024-02-29T00:00:00Z"));
}

TEST(RestTime, RefusesWhatIsNoTime) {
  for (const char* text : {"", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z",
                           "2026-01-01T00:60:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00Zx", "2026-01-01T00:00:00+0100",
                           "0001-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "2026-01-01 00:00:00Z", "+026-01-01T00:00:00Z"}) {
    const auto time = read_time(text);
    ASSERT_FALSE(time) << text;
    EXPECT_EQ(time.error().code(), ErrorCode::invalid_argument) << text;
  }
}

TEST(RestSize, ReadsPowersOf1024InAnyCase) {
  EXPECT_EQ(read_size("4096").value(), ByteCount(4096));
  EXPECT_EQ(read_size(" 512m ").value(), ByteCount::mib(512));
  EXPECT_EQ(read_size("1G").value(), ByteCount::gib(1));
  EXPECT_EQ(read_size("2k").value(), ByteCount::kib(2));
  EXPECT_EQ(read_size("1T").value(), ByteCount::gib(1024));
  EXPECT_EQ(read_size("0").value(), ByteCount(0));
}

TEST(RestSize, RefusesEverythingElse) {
  for (const char* text : {"", " ", "m", "-1", "1.5g", "1mb", "1 m", "0x10", "18446744073709551616", "17179869184g", "1x"})
    EXPECT_EQ(sandbox::testing::failure(read_size(text)), ErrorCode::invalid_argument) << text;
}

TEST(RestText, KnowsUtf8) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("grün"));
  EXPECT_FALSE(is_utf8("gr\xfcn"));
  EXPECT_FALSE(is_utf8("\xe2\x82"));
}

}  // namespace
}  // namespace sandbox::rest
