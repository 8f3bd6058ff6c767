#include "protocol/messages.hpp"

#include <gtest/gtest.h>

namespace sandbox::protocol {
namespace {

TEST(Messages, ZeroSurvivesWhereTheDefaultIsAnother) {
  FsPathRequest stat{.path = "/x", .follow = false};
  EXPECT_FALSE(decode<FsPathRequest>(as_bytes(encode(stat)))->follow);
  EXPECT_TRUE(decode<FsPathRequest>(as_bytes(encode(FsPathRequest{.path = "/x"})))->follow);
  FsPairRequest rename;
  rename.replace = false;
  EXPECT_FALSE(decode<FsPairRequest>(as_bytes(encode(rename)))->replace);
  FsWatchRequest watch;
  watch.recursive = false;
  EXPECT_FALSE(decode<FsWatchRequest>(as_bytes(encode(watch)))->recursive);
  Hello hello;
  hello.version = 0;
  hello.facts.emplace().dumpable = false;
  const auto heard = decode<Hello>(as_bytes(encode(hello)));
  EXPECT_EQ(heard->version, 0u);
  EXPECT_FALSE(heard->facts->dumpable);
  ExecControl control;
  control.resize = WindowSize{0, 0};
  EXPECT_EQ(decode<ExecControl>(as_bytes(encode(control)))->resize, (WindowSize{0, 0}));
}

TEST(Messages, AnEmptyMessageIsNoBytes) {
  EXPECT_EQ(encode(Empty{}), "");
  EXPECT_EQ(encode(End{}), "");
  EXPECT_TRUE(decode<Empty>({}));
}

TEST(Messages, NestingAndRepetitionAreBounded) {
  // 70,000 empty entries in 140 KB must not become 70,000 allocations.
  std::string many;
  for (int i = 0; i < 70'000; ++i) Writer(many).bytes_field(1, "");
  const auto decoded = decode<FsEntries>(as_bytes(many));
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), ErrorCode::protocol);
}

}  // namespace
}  // namespace sandbox::protocol
