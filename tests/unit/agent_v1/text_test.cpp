#include "agent/v1/text.hpp"

#include <errno.h>

#include <gtest/gtest.h>

namespace sandbox::agent::v1 {
namespace {

TEST(V1Text, HoldsBackTheBeginningOfACharacter) {
  const std::string text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Utf8Cutter cutter;
    const std::string first = cutter.feed(std::string_view(text).substr(0, cut));
    std::size_t at = 0;
    while (at < first.size()) {
      const auto size = utf8_size(std::string_view(first).substr(at));
      ASSERT_GT(size, 0u) << cut;
      at += size;
    }
    EXPECT_EQ(first + cutter.feed(std::string_view(text).substr(cut)), text);
    EXPECT_EQ(cutter.finish(), "");
  }
}

TEST(V1Text, HoldsBackNothingThatCannotBecomeACharacter) {
  Utf8Cutter cutter;
  EXPECT_EQ(cutter.feed("a\xff"), "a\xff");
  EXPECT_EQ(cutter.feed("\xe0\x80"), "\xe0\x80");
  EXPECT_EQ(cutter.feed("\xf0\x9f"), "");
  EXPECT_EQ(cutter.feed("x"), "\xf0\x9fx");
  EXPECT_EQ(cutter.feed("\xc3"), "");
  EXPECT_EQ(cutter.finish(), "\xc3");
}

TEST(V1Text, CutsPrefixesBetweenCharacters) {
  EXPECT_EQ(utf8_prefix("a\xc3\xa9", 2), "a");
  EXPECT_EQ(utf8_prefix("a\xc3\xa9", 3), "a\xc3\xa9");
  EXPECT_EQ(utf8_prefix("\xff\xff\xff", 2), "\xff\xff");
}

TEST(V1Text, Base64IsStrict) {
  for (const auto& [plain, coded] : std::initializer_list<std::pair<std::string, std::string>>{
           {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}, {"\xff\xfe", "//4="}}) {
    EXPECT_EQ(base64(as_bytes(plain)), coded);
    EXPECT_EQ(from_base64(coded), plain);
  }
  for (const char* bad : {"Z", "Zg", "Zg=", "Zg===", "Z===", "====", "Zh==", "Zm9=", "Zg==Zg==", "Zm-_", "Zm9v\n", " Zm9v"}) {
    EXPECT_FALSE(from_base64(bad)) << bad;
  }
}

TEST(V1Text, SpeaksAsTheOriginal) {
  EXPECT_EQ(os_text(ENOENT), "no such file or directory");
  EXPECT_EQ(os_text(EACCES), "permission denied");
  EXPECT_EQ(os_text(EISDIR), "is a directory");
  EXPECT_EQ(os_text(ENOTEMPTY), "directory not empty");
  EXPECT_EQ(os_text(EEXIST), "file exists");
  EXPECT_EQ(os_text(ENOTDIR), "not a directory");
  EXPECT_EQ(os_text(ELOOP), "too many levels of symbolic links");
  EXPECT_EQ(os_text(ENOSPC), "no space left on device");
  EXPECT_EQ(os_text(EROFS), "read-only file system");
  EXPECT_EQ(duration_text(1000), "1s");
  EXPECT_EQ(duration_text(30000), "30s");
  EXPECT_EQ(duration_text(90000), "1m30s");
  EXPECT_EQ(duration_text(300000), "5m0s");
  EXPECT_EQ(duration_text(3600000), "1h0m0s");
  EXPECT_EQ(duration_text(250), "250ms");
  EXPECT_EQ(duration_text(1500), "1.5s");
}

TEST(V1Text, WritesTimes) {
  EXPECT_EQ(time_text(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(time_text(1795231480), "2026-11-21T03:24:40Z");
  EXPECT_EQ(time_text(951782400), "2000-02-29T00:00:00Z");
  EXPECT_EQ(time_text(-1), "1969-12-31T23:59:59Z");
  EXPECT_EQ(time_text(1795231365, 440115506), "2026-11-21T03:22:45.440115506Z");
  EXPECT_EQ(time_text(1795231365, 500000000), "2026-11-21T03:22:45.5Z");
}

}  // namespace
}  // namespace sandbox::agent::v1
