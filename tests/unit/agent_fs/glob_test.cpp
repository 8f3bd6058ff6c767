#include "agent/glob.hpp"

#include <gtest/gtest.h>

namespace sandbox::agent {
namespace {

bool match(std::string_view pattern, std::string_view path) {
  auto glob = Glob::compile(pattern);
  EXPECT_TRUE(glob) << pattern;
  return glob && glob->matches(path);
}

TEST(Glob, StarsStayWithinOneName) {
  EXPECT_TRUE(match("*.py", "main.py"));
  EXPECT_TRUE(match("*", ".hidden"));
  EXPECT_FALSE(match("*.py", "src/main.py"));
  EXPECT_TRUE(match("src/*.py", "src/main.py"));
  EXPECT_TRUE(match("a*b*c", "aXbXbYc"));
  EXPECT_FALSE(match("a*b*c", "aXcXb"));
  EXPECT_FALSE(match("", "") && !match("", "anything"));
  EXPECT_TRUE(match("", "any/thing"));
}

TEST(Glob, DoubleStarsCrossNames) {
  EXPECT_TRUE(match("**/*.py", "main.py"));
  EXPECT_TRUE(match("**/*.py", "a/b/c/main.py"));
  EXPECT_FALSE(match("**/*.py", "a/main.pyc"));
  EXPECT_TRUE(match("a/**", "a/b/c"));
  EXPECT_TRUE(match("a/**/z", "a/z"));
  EXPECT_TRUE(match("a/**/m/**/z", "a/1/m/2/3/z"));
  EXPECT_FALSE(match("a/**/m/**/z", "a/1/2/3/z"));
  EXPECT_TRUE(match("**", "x"));
}

TEST(Glob, ClassesAndEscapes) {
  EXPECT_TRUE(match("[a-c]x", "bx"));
  EXPECT_FALSE(match("[!a-c]x", "bx"));
  EXPECT_TRUE(match("[^a-c]x", "dx"));
  EXPECT_TRUE(match("[]x]", "]"));
  EXPECT_TRUE(match("[a-]", "-"));
  EXPECT_TRUE(match("[", "["));
  EXPECT_TRUE(match("[abc", "[abc"));
  EXPECT_TRUE(match("\\*", "*"));
  EXPECT_FALSE(match("\\*", "a"));
  EXPECT_TRUE(match("[\\]]", "]"));
}

TEST(Glob, CharactersAreUtf8WhereTheyCan) {
  EXPECT_TRUE(match("?", "ä"));
  EXPECT_TRUE(match("[ä-ö]", "ö"));
  EXPECT_FALSE(match("??", "ä"));
  EXPECT_TRUE(match("?", "\xff"));
  EXPECT_TRUE(match("\xff*", "\xff\xfe"));
  EXPECT_TRUE(match("?\n?", "a\nb"));
  EXPECT_TRUE(match("??", "\xe2\x82"));  // a sequence cut short is two bytes
}

TEST(Glob, RefusesWhatCannotBeBelowTheRoot) {
  for (const std::string& bad : {std::string("/abs"), std::string("../x"), std::string("a/../b"), std::string("a\0b", 3), std::string(5000, 'a')}) {
    auto glob = Glob::compile(bad);
    ASSERT_FALSE(glob) << bad;
    EXPECT_EQ(glob.error().code(), ErrorCode::invalid_argument);
  }
}

TEST(Glob, KnowsWhereNothingCanMatch) {
  auto glob = Glob::compile("src/*/test");
  ASSERT_TRUE(glob);
  EXPECT_TRUE(glob->may_match_below("src"));
  EXPECT_TRUE(glob->may_match_below("src/a"));
  EXPECT_FALSE(glob->may_match_below("src/a/test"));
  EXPECT_FALSE(glob->may_match_below("lib"));
  EXPECT_TRUE(Glob::compile("**/x")->may_match_below("any/where"));
}

TEST(Glob, ManyStarsTakeNoTime) {
  EXPECT_FALSE(match(std::string(1000, '*') + "b", std::string(200, 'a')));
  std::string pattern, path;
  for (int i = 0; i < 100; ++i) pattern += "**/a*/", path += "aaa/";
  EXPECT_FALSE(match(pattern + "b", path + "c"));
}

}  // namespace
}  // namespace sandbox::agent
