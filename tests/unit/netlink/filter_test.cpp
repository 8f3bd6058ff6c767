#include "os/net_filter.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

namespace sandbox::os {
namespace {

/// In a network namespace of its own: nothing of the machine's is touched.
class Filter : public ::testing::Test {
 protected:
  void SetUp() override {
    back_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (::unshare(CLONE_NEWNET) != 0) {
      back_.reset();
      GTEST_SKIP() << "needs root";
    }
    auto opened = NetlinkSocket::open(NETLINK_NETFILTER);
    if (!opened) GTEST_SKIP() << "no nf_tables";
    socket_.emplace(*std::move(opened));
  }
  void TearDown() override {
    if (back_) {
      ASSERT_EQ(::setns(back_.get(), CLONE_NEWNET), 0);
    }
  }
  core::UniqueFd back_;
  std::optional<NetlinkSocket> socket_;
};

TEST_F(Filter, ATransactionIsAllOrNothing) {
  FilterTransaction bad;
  bad.add_table("t", 0).add_chain("a").rule("a").accept().rule("no such chain").drop();
  auto refused = bad.commit(*socket_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().sys_errno(), ENOENT);
  EXPECT_EQ(refused.error().details().front().second, "4") << "begin, table, chain, rule, then the bad one";
  EXPECT_TRUE(filter_tables(*socket_).value().empty());
}

TEST_F(Filter, CountsRulesAndSeesThemGo) {
  FilterTransaction rules;
  rules.add_table("t", 0).add_base_chain("in", "filter", kHookInput, 0).add_chain("sub");
  rules.rule("in").input_prefix("sbx").jump("sub").rule("sub").destination(0x0a000000, 8).count().drop().rule("sub").not_ipv4().drop();
  rules.commit(*socket_).value();
  EXPECT_EQ(rules.rules(), 3u);
  EXPECT_EQ(filter_rule_count(*socket_, "t").value(), 3u);
  const auto chains = filter_chains(*socket_).value();
  EXPECT_EQ(chains, (std::vector<std::pair<std::string, std::string>>{{"t", "in"}, {"t", "sub"}}));
  const std::uint32_t before = filter_generation(*socket_).value();

  FilterTransaction removal;
  removal.delete_table("t");
  removal.commit(*socket_).value();
  EXPECT_NE(filter_generation(*socket_).value(), before);
  EXPECT_EQ(filter_rule_count(*socket_, "t").value(), 0u);
}

TEST_F(Filter, ADormantTableCountsAsNoRules) {
  FilterTransaction rules;
  rules.add_table("t", NFT_TABLE_F_DORMANT).add_base_chain("in", "filter", kHookInput, 0).rule("in").drop();
  rules.commit(*socket_).value();
  EXPECT_EQ(filter_rule_count(*socket_, "t").value(), 0u);
}

}  // namespace
}  // namespace sandbox::os
