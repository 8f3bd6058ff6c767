#include "server/quota.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "server/deadlines.hpp"

namespace sandbox::server {
namespace {

using namespace std::chrono_literals;
constexpr std::uint64_t kMiB = 1 << 20;

TEST(Quota, CountsWhatIsReservedAndGivesItBack) {
  Quota quota({2, 0, 0});
  auto a = quota.reserve("", kMiB, 1);
  EXPECT_FALSE(quota.check_count("", {}));
  auto b = quota.reserve("", kMiB, 1);
  EXPECT_EQ(quota.check_count("", {}), Quota::Refusal::capacity);
  a.reset();
  EXPECT_FALSE(quota.check_count("", {}));
  EXPECT_EQ(quota.sandboxes(), 1u);
}

TEST(Quota, AnIdentityHasItsOwnBound) {
  Quota quota({10, 0, 0});
  auto a = quota.reserve("acme", 0, 0);
  EXPECT_EQ(quota.check_count("acme", 1), Quota::Refusal::identity);
  EXPECT_FALSE(quota.check_count("acme", 2));
  EXPECT_FALSE(quota.check_count("other", 1));
  EXPECT_FALSE(quota.check_count("acme", {}));
}

TEST(Quota, MemoryAndCpusAreSums) {
  Quota quota({100, 1024 * kMiB, 1.0});
  EXPECT_EQ(quota.reserve("", 1025 * kMiB, 0.1), nullptr);
  EXPECT_EQ(quota.reserve("", ~std::uint64_t{0}, 0.1), nullptr);
  auto a = quota.reserve("", 1000 * kMiB, 0.1);
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(quota.reserve("", 25 * kMiB, 0.1), nullptr);
  auto b = quota.reserve("", 24 * kMiB, 0.1);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(quota.reserve("", 0, 0.81), nullptr);
  std::vector<std::unique_ptr<Quota::Reservation>> rest;
  for (int i = 0; i < 8; ++i) rest.push_back(quota.reserve("", 0, 0.1));
  EXPECT_NE(rest.back(), nullptr);  // ten times a tenth is one, whatever the sum of the doubles says
  EXPECT_EQ(quota.reserve("", 0, 0.01), nullptr);
}

TEST(Quota, WhatExistsIsCountedWhateverTheLimits) {
  Quota quota({1, kMiB, 1});
  auto a = quota.adopt("acme", 100 * kMiB, 50);
  EXPECT_EQ(quota.sandboxes(), 1u);
  EXPECT_EQ(quota.reserve("", 1, 0), nullptr);
  a.reset();
  EXPECT_NE(quota.reserve("", 1, 0), nullptr);
}

TEST(Deadlines, ComeInOrderAndOnce) {
  Deadlines deadlines;
  const core::TimePoint zero{};
  deadlines.set("b", zero + 2s);
  deadlines.set("a", zero + 1s);
  deadlines.set("c", zero + 3s);
  deadlines.set("b", zero + 5s);
  deadlines.cancel("c");
  deadlines.cancel("unknown");
  EXPECT_EQ(deadlines.next(), zero + 1s);
  EXPECT_EQ(deadlines.expire(zero + 4s), std::vector<std::string>{"a"});
  EXPECT_TRUE(deadlines.expire(zero + 4s).empty());
  EXPECT_EQ(deadlines.expire(zero + 5s), std::vector<std::string>{"b"});
  EXPECT_EQ(deadlines.next(), core::TimePoint::max());
  EXPECT_EQ(deadlines.size(), 0u);
}

}  // namespace
}  // namespace sandbox::server
