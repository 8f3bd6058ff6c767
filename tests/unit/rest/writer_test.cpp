#include "rest/json_writer.hpp"

#include <limits>

#include <gtest/gtest.h>

namespace sandbox::rest {
namespace {

std::string quoted(std::string_view text) { return JsonWriter().value(text).text(); }

TEST(JsonWriter, PutsCommasBetweenValuesAndNowhereElse) {
  JsonWriter json;
  json.begin_object().member("a", 1).key("b").begin_array().value(1).begin_object().end_object().value(true).end_array();
  json.key("c").null().member("d", "x").end_object();
  EXPECT_EQ(json.text(), R"({"a":1,"b":[1,{},true],"c":null,"d":"x"})");
}

TEST(JsonWriter, EscapesWhatMayNotStandInAString) {
  EXPECT_EQ(quoted("a\"b\\c\n\t\r\x01\x7f"), "\"a\\\"b\\\\c\\n\\t\\r\\u0001\\u007f\"");
  EXPECT_EQ(quoted(std::string_view("\0", 1)), "\"\\u0000\"");
}

TEST(JsonWriter, KeepsUtf8AndReplacesOtherBytesOneByOne) {
  EXPECT_EQ(quoted("grün€😀"), "\"grün€😀\"");
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(quoted("a\xff" "b"), "\"a" + r + "b\"");
  EXPECT_EQ(quoted("\xc0\xaf"), "\"" + r + r + "\"") << "overlong";
  EXPECT_EQ(quoted("\xed\xa0\x80"), "\"" + r + r + r + "\"") << "a surrogate";
  EXPECT_EQ(quoted("\xe2\x82"), "\"" + r + r + "\"") << "cut off";
  EXPECT_EQ(quoted("\xf4\x90\x80\x80"), "\"" + r + r + r + r + "\"") << "beyond U+10FFFF";
}

TEST(JsonWriter, WritesNumbersSoThatTheyReadBackTheSame) {
  EXPECT_EQ(JsonWriter().value(0.1).text(), "0.1");
  EXPECT_EQ(JsonWriter().value(2.0).text(), "2");
  EXPECT_EQ(JsonWriter().value(std::numeric_limits<std::uint64_t>::max()).text(), "18446744073709551615");
  EXPECT_EQ(JsonWriter().value(std::numeric_limits<std::int64_t>::min()).text(), "-9223372036854775808");
  EXPECT_EQ(JsonWriter().value(std::numeric_limits<double>::quiet_NaN()).text(), "0");
  EXPECT_EQ(JsonWriter().value(std::numeric_limits<double>::infinity()).text(), "0");
}

}  // namespace
}  // namespace sandbox::rest
