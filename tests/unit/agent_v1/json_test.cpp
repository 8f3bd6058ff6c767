#include "agent/v1/json.hpp"

#include <gtest/gtest.h>

namespace sandbox::agent::v1 {
namespace {

json::Value read(std::string_view text) {
  auto value = json::parse(text);
  if (!value) {
    ADD_FAILURE() << text << ": " << value.error().message();
    return {};
  }
  return *std::move(value);
}

bool refused(std::string_view text) {
  const auto value = json::parse(text);
  if (!value) value.error().ignore("expected");
  return !value;
}

TEST(V1Json, ReadsEveryKindOfValue) {
  const auto value = read(R"( {"a" : [1, -2.5e1 ,true,false,null,"x"] , "b":{} } )");
  ASSERT_EQ(value.kind, json::Kind::object);
  const auto& items = value.find("a")->items;
  ASSERT_EQ(items.size(), 6u);
  EXPECT_EQ(items[0].kind, json::Kind::integer);
  EXPECT_EQ(items[0].integer, 1);
  EXPECT_EQ(items[1].kind, json::Kind::real);
  EXPECT_EQ(items[1].real, -25.0);
  EXPECT_TRUE(items[2].boolean);
  EXPECT_EQ(items[4].kind, json::Kind::null);
  EXPECT_EQ(items[5].text, "x");
  EXPECT_EQ(value.find("b")->kind, json::Kind::object);
  EXPECT_EQ(value.find("c"), nullptr);
  EXPECT_EQ(value.find("A"), nullptr);
}

TEST(V1Json, TheLastOfDuplicateKeysCountsAndNullCountsAsAbsent) {
  EXPECT_EQ(read(R"({"a":1,"a":2})").find("a")->integer, 2);
  EXPECT_EQ(read(R"({"a":1,"a":null})").find("a"), nullptr);
}

TEST(V1Json, TellsIntegersFromOtherNumbers) {
  EXPECT_EQ(read("9223372036854775807").integer, INT64_MAX);
  EXPECT_EQ(read("-9223372036854775808").integer, INT64_MIN);
  EXPECT_EQ(read("9223372036854775808").kind, json::Kind::real);
  EXPECT_EQ(read("9223372036854775808").text, "9223372036854775808");
  EXPECT_EQ(read("1.0").kind, json::Kind::real);
  EXPECT_EQ(read("1e2").real, 100.0);
  EXPECT_EQ(read("-0").integer, 0);
  for (const char* bad : {"01", "-", "+1", ".5", "1.", "1e", "1e+", "0x10", "NaN", "Infinity", "--1"}) EXPECT_TRUE(refused(bad)) << bad;
  EXPECT_TRUE(refused(std::string(65, '1')));
}

TEST(V1Json, ReadsEscapesAndSurrogatePairs) {
  EXPECT_EQ(read(R"("\"\\\/\b\f\n\r\t\u00e9\u20ac\ud83d\ude00")").text, "\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(read(R"("\ud83d")").text, "\xef\xbf\xbd");
  EXPECT_EQ(read(R"("\ude00x")").text, "\xef\xbf\xbdx");
  EXPECT_EQ(read(R"("\ud83d\u0041")").text, "\xef\xbf\xbd" "A");
  for (const char* bad : {R"("\x")", R"("\u12")", R"("\u12g4")", R"("\u 123")", R"("\u-123")", "\"a\nb\"", "\"open", "\"\\"}) {
    EXPECT_TRUE(refused(bad)) << bad;
  }
}

TEST(V1Json, TakesOnlyUtf8) {
  EXPECT_EQ(read("\"\xf4\x8f\xbf\xbf\"").text.size(), 4u);
  for (const char* bad : {"\"\x80\"", "\"\xc0\xaf\"", "\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xc3\"", "\"\xff\""}) {
    EXPECT_TRUE(refused(bad)) << bad;
  }
}

TEST(V1Json, RefusesEverythingElse) {
  for (const char* bad : {"", " ", "{", "}", "[", "[1", "[1,", "[1,]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:1}", "1 2", "nul",
                          "truex", "'a'", "[1 2]", "{\"a\" 1}", "\xef\xbb\xbf{}", "//x\n1"}) {
    EXPECT_TRUE(refused(bad)) << bad;
  }
}

TEST(V1Json, BoundsDepthAndCount) {
  const auto nested = [](int depth) { return std::string(static_cast<std::size_t>(depth), '[') + std::string(static_cast<std::size_t>(depth), ']'); };
  EXPECT_FALSE(refused(nested(json::kMaxDepth)));
  EXPECT_TRUE(refused(nested(json::kMaxDepth + 2)));
  EXPECT_TRUE(refused(nested(100000)));
  std::string many = "[0";
  for (std::size_t i = 2; i < json::kMaxValues; ++i) many += ",0";
  EXPECT_FALSE(refused(many + "]"));
  EXPECT_TRUE(refused(many + ",0]"));
}

TEST(V1Json, WritesStringsThatAreAlwaysUtf8) {
  std::string out;
  json::append_string(out, std::string_view("a\"\\\n\x01\x7f\xc3\xa9\xff\xe2\x82" "b\0", 13));
  EXPECT_EQ(out, "\"a\\\"\\\\\\n\\u0001\x7f\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" "b\\u0000\"");
  EXPECT_EQ(json::string_size(std::string_view("a\"\\\n\x01\x7f\xc3\xa9\xff\xe2\x82" "b\0", 13)), out.size());
  EXPECT_FALSE(refused(out));
}

TEST(V1Json, CutsAStringToTheSizeItMayHave) {
  const std::string text = std::string("\x01\xc3\xa9\xff") + "x\"";
  for (std::size_t size = 2; size < 20; ++size) {
    const auto part = json::fitting(text, size);
    EXPECT_LE(json::string_size(part), size);
    if (part.size() < text.size()) {
      const std::size_t next = part.size() == 1 ? 2 : 1;   // the two bytes of one character stay together
      EXPECT_GT(json::string_size(std::string_view(text).substr(0, part.size() + next)), size);
    }
  }
  EXPECT_EQ(json::fitting(text, 1000), text);
}

TEST(V1Json, WritesObjectsInOrder) {
  EXPECT_EQ(json::Object().take(), "{}");
  EXPECT_EQ(json::Object().text("a", "b").number("n", -5).boolean("t", true).raw("r", "[1]").take(), R"({"a":"b","n":-5,"t":true,"r":[1]})");
}

}  // namespace
}  // namespace sandbox::agent::v1
