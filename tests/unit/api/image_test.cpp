#include <gtest/gtest.h>

#include <sandbox/image.hpp>

namespace sandbox {
namespace {

TEST(ImageParse, KnowsTheIdsOfARuntimeAndOfADaemon) {
  EXPECT_EQ(Image::parse("tpl-0123456789abcdef"), Image::from_template("tpl-0123456789abcdef"));
  EXPECT_EQ(Image::parse("tpl-0123abcd"), Image::from_template("tpl-0123abcd"));
}

TEST(ImageParse, TakesWhatIsAlmostAnIdForAPath) {
  for (const char* text : {"tpl-mine", "tpl-0123abcg", "tpl-0123abc", "tpl-0123ABCD", "./tpl-0123abcd"}) {
    EXPECT_NE(Image::parse(text).kind(), Image::Kind::template_id) << text;
  }
}

TEST(ImageParse, MakesPathsAbsoluteAndTellsDirectoriesFromArchives) {
  EXPECT_EQ(Image::parse(""), Image::host());
  EXPECT_EQ(Image::parse("host"), Image::host());
  EXPECT_EQ(Image::parse("/usr/"), Image::directory("/usr"));
  EXPECT_EQ(Image::parse("/no/such.tar"), Image::tar("/no/such.tar"));
}

}  // namespace
}  // namespace sandbox
