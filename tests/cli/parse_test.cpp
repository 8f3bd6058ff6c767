#include "parse.hpp"

#include <cstdlib>
#include <gtest/gtest.h>

#include "text.hpp"

namespace sbx {
namespace {

template <class T>
bool refused(const sandbox::Result<T>& result) {
  return !result && result.error().code() == sandbox::ErrorCode::invalid_argument;
}

using std::chrono::milliseconds;

TEST(ParseSize, TakesPowersOf1024InAnyCase) {
  EXPECT_EQ(parse_size("1").value().bytes(), 1u);
  EXPECT_EQ(parse_size("64KiB").value().bytes(), 64u << 10);
  EXPECT_EQ(parse_size("512m").value().bytes(), 512u << 20);
  EXPECT_EQ(parse_size("512MB").value().bytes(), 512u << 20);
  EXPECT_EQ(parse_size("1.5g").value().bytes(), 3ull << 29);
  EXPECT_EQ(parse_size("2T").value().bytes(), 2ull << 40);
}

TEST(ParseSize, RefusesWhatIsNotASize) {
  for (const char* text : {"", "m", "-1", "1x", "1 m", "0", "0.1", "inf", "nan", "1e3", "99999999999999999999", "1m1"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().code(), sandbox::ErrorCode::invalid_argument) << text;
  }
}

TEST(ParseDuration, TakesUnitsAndSums) {
  EXPECT_EQ(parse_duration("500ms").value(), milliseconds(500));
  EXPECT_EQ(parse_duration("10s").value(), milliseconds(10'000));
  EXPECT_EQ(parse_duration("10").value(), milliseconds(10'000));
  EXPECT_EQ(parse_duration("1.5s").value(), milliseconds(1500));
  EXPECT_EQ(parse_duration("1m30s").value(), milliseconds(90'000));
  EXPECT_EQ(parse_duration("2h").value(), milliseconds(7'200'000));
  EXPECT_EQ(parse_duration("1us").value(), milliseconds(1)) << "finer than a millisecond is rounded up, not to none";
}

TEST(ParseDuration, RefusesWhatIsNotADuration) {
  for (const char* text : {"", "s", "0", "0s", "-1s", "1x", "10s5", "1 s", "nan", "9000h1h9"}) {
    const auto time = parse_duration(text);
    ASSERT_FALSE(time) << text;
    EXPECT_EQ(time.error().code(), sandbox::ErrorCode::invalid_argument) << text;
  }
  const auto long_time = parse_duration("9000h");
  ASSERT_FALSE(long_time);
  EXPECT_NE(long_time.error().message().find("year"), std::string::npos);
}

TEST(ParseEnv, SplitsAtTheFirstEqualsSign) {
  EXPECT_EQ(parse_env("A=b=c").value(), std::pair(std::string("A"), std::string("b=c")));
  EXPECT_EQ(parse_env("A=").value(), std::pair(std::string("A"), std::string()));
}

TEST(ParseEnv, TakesTheCallersValueForANameAlone) {
  ::setenv("SBX_PARSE_TEST", "from here", 1);
  EXPECT_EQ(parse_env("SBX_PARSE_TEST").value().second, "from here");
  ::unsetenv("SBX_PARSE_TEST");
  const auto unset = parse_env("SBX_PARSE_TEST");
  ASSERT_FALSE(unset);
  EXPECT_EQ(unset.error().code(), sandbox::ErrorCode::invalid_argument);
  EXPECT_TRUE(refused(parse_env("=x")));
}

TEST(ParseTransfer, UploadSplitsAtTheLastColonAndDownloadAtTheFirst) {
  const auto up = parse_upload("a:b:/root/x", "/root").value();
  EXPECT_EQ(up.host, "a:b");
  EXPECT_EQ(up.box, "/root/x");
  const auto down = parse_download("/root/x:b:c", "/root").value();
  EXPECT_EQ(down.box, "/root/x");
  EXPECT_EQ(down.host, "b:c");
}

TEST(ParseTransfer, CompletesRelativePathsAndDirectories) {
  EXPECT_EQ(parse_upload("f:data/f", "/work").value().box, "/work/data/f");
  EXPECT_EQ(parse_upload("dir/f.txt:/root/", "/").value().box, "/root/f.txt");
  EXPECT_EQ(parse_upload("dir/:/root/", "/").value().box, "/root/dir");
  EXPECT_EQ(parse_upload("dir/f:.", "/work").value().box, "/work/f");
  EXPECT_EQ(parse_upload("dir/f:/tmp/.", "/work").value().box, "/tmp/f");
  EXPECT_EQ(parse_download("out.txt:.", "/root").value().host, "./out.txt");
  EXPECT_EQ(parse_download("out.txt:.", "/root").value().box, "/root/out.txt");
  EXPECT_EQ(parse_download("/root/a/:/tmp/", "/").value().host, "/tmp/a");
}

TEST(ParseTransfer, RefusesAMissingSide) {
  for (const char* text : {"", "a", ":b", "a:"}) {
    EXPECT_TRUE(refused(parse_upload(text, "/root"))) << text;
    EXPECT_TRUE(refused(parse_download(text, "/root"))) << text;
  }
}

TEST(ParseNetwork, KnowsTwoModes) {
  EXPECT_EQ(parse_network("none").value(), sandbox::Network::none);
  EXPECT_EQ(parse_network("bridge").value(), sandbox::Network::bridge);
  EXPECT_TRUE(refused(parse_network("host")));
}

TEST(Text, JsonEscapesAndNests) {
  Json inner = Json::array();
  inner.push("a\"b").push("\n\x01");
  EXPECT_EQ(Json::object().add("k", inner).add("n", 3).add("t", true).add("d", 0.5).add_null("z").str(),
            R"({"k":["a\"b","\n\u0001"],"n":3,"t":true,"d":0.5,"z":null})");
}

TEST(Text, BytesThatAreNotUtf8AlsoTravelAsBase64) {
  EXPECT_EQ(Json::object().add_bytes("o", "\xc3\xa4").str(), "{\"o\":\"\xc3\xa4\"}");
  EXPECT_EQ(Json::object().add_bytes("o", "a\xff").str(), "{\"o\":\"a\xef\xbf\xbd\",\"o_base64\":\"Yf8=\"}");
}

TEST(Text, Utf8RefusesSurrogatesOverlongsAndTruncation) {
  EXPECT_TRUE(is_utf8("plain \xe2\x82\xac \xf0\x9f\x98\x80"));
  for (const char* text : {"\xc0\xaf", "\xed\xa0\x80", "\xe2\x82", "\xf5\x80\x80\x80", "\x80", "\xf0\x8f\xbf\xbf"}) EXPECT_FALSE(is_utf8(text));
}

TEST(Text, Base64OfEveryRemainder) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
}

TEST(Text, SizesAndTimesForPeople) {
  EXPECT_EQ(human_size(0), "0 B");
  EXPECT_EQ(human_size(1536), "1.5 KiB");
  EXPECT_EQ(human_size(512ull << 20), "512 MiB");
  EXPECT_EQ(human_time(std::chrono::microseconds(1250)), "1.25 ms");
  EXPECT_EQ(human_time(std::chrono::milliseconds(3100)), "3.10 s");
}

}  // namespace
}  // namespace sbx
