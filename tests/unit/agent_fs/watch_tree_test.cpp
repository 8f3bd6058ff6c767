#include "agent/watch_tree.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sandbox::agent {
namespace {

TEST(WatchTree, PathsFollowRenames) {
  WatchTree tree("/root");
  tree.add(1, -1, "");
  tree.add(2, 1, "a");
  tree.add(3, 2, "b");
  EXPECT_EQ(tree.path(3, "f"), "/root/a/b/f");
  tree.move(2, 1, "z");
  EXPECT_EQ(tree.path(3, "f"), "/root/z/b/f");
  EXPECT_EQ(tree.child(1, "a"), -1);
  EXPECT_EQ(tree.child(1, "z"), 2);
}

TEST(WatchTree, AKnownDescriptorMoves) {
  WatchTree tree("/");
  tree.add(1, -1, "");
  tree.add(2, 1, "a");
  EXPECT_FALSE(tree.add(2, 1, "a"));
  EXPECT_TRUE(tree.add(2, 1, "b"));
  EXPECT_EQ(tree.path(2), "/b");
  EXPECT_EQ(tree.size(), 2u);
}

TEST(WatchTree, SubtreesGoTogether) {
  WatchTree tree("/r");
  tree.add(1, -1, "");
  tree.add(2, 1, "a");
  tree.add(3, 2, "b");
  tree.add(4, 1, "c");
  std::vector<int> gone;
  tree.remove_subtree(2, [&](int watch) { gone.push_back(watch); });
  EXPECT_EQ(gone, (std::vector<int>{2, 3}));
  EXPECT_FALSE(tree.contains(3));
  EXPECT_TRUE(tree.contains(4));
  EXPECT_EQ(tree.child(1, "a"), -1);
}

TEST(WatchTree, WhatIsNotOfTheTreeHasNoPath) {
  WatchTree tree("/r");
  tree.add(1, -1, "");
  tree.add(2, 1, "a");
  tree.add(3, 2, "b");
  EXPECT_EQ(tree.path(7), std::nullopt);
  EXPECT_EQ(tree.path(7, "f"), std::nullopt);
  EXPECT_EQ(tree.path(1), "/r");
  // The kernel tells of a directory's end, then of what was below it.
  tree.forget(2);
  EXPECT_EQ(tree.path(2, "f"), std::nullopt);
  EXPECT_EQ(tree.path(3, "f"), std::nullopt);
}

TEST(WatchTree, NothingMovesBelowItself) {
  WatchTree tree("/r");
  tree.add(1, -1, "");
  tree.add(2, 1, "a");
  tree.add(3, 2, "b");
  tree.move(2, 3, "x");
  EXPECT_EQ(tree.path(3), "/r/a/b");
}

}  // namespace
}  // namespace sandbox::agent
