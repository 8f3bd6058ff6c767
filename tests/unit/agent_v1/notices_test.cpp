#include "agent/v1/notices.hpp"

#include <gtest/gtest.h>

namespace sandbox::agent::v1 {
namespace {

Notice state(std::string body) { return {Notice::Tier::state, "process.exit", std::move(body), {}}; }
Notice output(std::string body) { return {Notice::Tier::output, "process.stdout", std::move(body), {}}; }

TEST(V1Notices, StateComesFirst) {
  NoticeBuffer buffer;
  buffer.add(output("1"));
  buffer.add(state("2"));
  buffer.add(output("3"));
  EXPECT_EQ(buffer.size(), 3u);
  std::string order;
  for (const auto& notice : buffer.take()) order += notice.body;
  EXPECT_EQ(order, "213");
  EXPECT_EQ(buffer.size(), 0u);
}

TEST(V1Notices, KeepsTheNewestStates) {
  NoticeBuffer buffer;
  for (int i = 0; i < 60; ++i) buffer.add(state(std::to_string(i)));
  EXPECT_EQ(buffer.size(), 50u);
  EXPECT_EQ(buffer.truncated(), 0u);
  EXPECT_EQ(buffer.take().front().body, "10");
}

TEST(V1Notices, EvictsOutputByCountAndBySize) {
  NoticeBuffer buffer;
  for (int i = 0; i < 1003; ++i) buffer.add(output("x"));
  EXPECT_EQ(buffer.size(), 1000u);
  EXPECT_EQ(buffer.truncated(), 3u);
  buffer.take();
  EXPECT_EQ(buffer.truncated(), 0u);
  for (int i = 0; i < 9; ++i) buffer.add(output(std::string(128 << 10, 'x')));
  EXPECT_EQ(buffer.size(), 8u);
  EXPECT_EQ(buffer.truncated(), 1u);
  buffer.drop();
  EXPECT_EQ(buffer.size(), 0u);
  EXPECT_EQ(buffer.truncated(), 9u);
}

}  // namespace
}  // namespace sandbox::agent::v1
