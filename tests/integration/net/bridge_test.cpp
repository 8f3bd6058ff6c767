#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "network.hpp"
#include "os/net_filter.hpp"
#include "support/eventually.hpp"
#include "support/netlab.hpp"

namespace sandbox::launcher {
namespace {

using core::UniqueFd;
using testing::NetLab;
using testing::eventually;

std::string dotted(std::uint32_t address) {
  const in_addr wire{htonl(address)};
  char text[INET_ADDRSTRLEN];
  return ::inet_ntop(AF_INET, &wire, text, sizeof text);
}

/// The whole test runs with its thread inside the lab's host.
class BridgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    lab_ = std::make_unique<NetLab>();
    host_.emplace(lab_->host());
  }
  void TearDown() override {
    bridge_.reset();
    host_.reset();
    lab_.reset();
  }

  Bridge& bridge(const BridgeConfig& config = {}) {
    if (!bridge_) bridge_ = Bridge::setup(config).value();
    return *bridge_;
  }
  struct Sandbox {
    UniqueFd netns;
    BridgeAttachment at;
    std::string address() const { return dotted(at.address); }
    std::string gateway() const { return dotted(at.gateway); }
  };
  Sandbox make() {
    Sandbox made;
    made.netns = make_network_namespace().value();
    made.at = bridge().attach(made.netns.get()).value();
    return made;
  }
  std::vector<std::string> tables() {
    auto filter = os::NetlinkSocket::open(NETLINK_NETFILTER).value();
    return os::filter_tables(filter).value();
  }
  std::vector<std::string> sandbox_links() {
    std::vector<std::string> names = NetLab::interfaces(lab_->host());
    std::erase_if(names, [](const std::string& name) { return !name.starts_with("sbx"); });
    return names;
  }

  std::unique_ptr<NetLab> lab_;
  std::optional<NetLab::Inside> host_;
  std::unique_ptr<Bridge> bridge_;
};

TEST_F(BridgeTest, ControlRunTheProbesReachEverythingWithoutRules) {
  const UniqueFd control = lab_->make_control(), neighbour = lab_->make_control();
  lab_->serve(neighbour.get(), "neighbour");
  for (const char* address : {NetLab::kPublic, NetLab::kPublic2, NetLab::kPrivate, NetLab::kPrivateTen, NetLab::kMetadata,
                              NetLab::kHostPublic, NetLab::kHostPrivate, "10.99.1.1", "10.99.2.2"}) {
    EXPECT_TRUE(NetLab::reaches(control.get(), address)) << address;
  }
  NetLab::add_address(control.get(), "eth0", "10.99.1.77/32");
  EXPECT_TRUE(NetLab::send_datagram(control.get(), NetLab::kPublic, "spoofed", "10.99.1.77"));
  EXPECT_TRUE(lab_->wait_for("spoofed"));
}

TEST_F(BridgeTest, ASandboxReachesPublicAddressesAndIsSeenAsTheHost) {
  const Sandbox box = make();
  EXPECT_TRUE(NetLab::reaches(box.netns.get(), NetLab::kPublic));
  EXPECT_TRUE(NetLab::reaches(box.netns.get(), NetLab::kPublic2));
  EXPECT_TRUE(NetLab::send_datagram(box.netns.get(), NetLab::kPublic, "hello"));
  ASSERT_TRUE(lab_->wait_for("hello"));
  for (const auto& seen : lab_->seen()) {
    EXPECT_EQ(seen.server, "public");
    EXPECT_EQ(seen.from, NetLab::kHostPublic);
  }
}

TEST_F(BridgeTest, ASandboxReachesNoHostPrivateOrMetadataAddress) {
  const Sandbox box = make();
  for (const std::string& address : {std::string(NetLab::kHostPublic), std::string(NetLab::kHostPrivate), box.gateway(), std::string("169.254.169.1"),
                                     std::string(NetLab::kPrivate), std::string(NetLab::kPrivateTen), std::string(NetLab::kMetadata)}) {
    EXPECT_FALSE(NetLab::reaches(box.netns.get(), address)) << address;
    NetLab::send_datagram(box.netns.get(), address, "forbidden");
  }
  EXPECT_TRUE(NetLab::send_datagram(box.netns.get(), NetLab::kPublic, "fence"));
  ASSERT_TRUE(lab_->wait_for("fence"));
  EXPECT_FALSE(lab_->saw("forbidden"));
  for (const auto& seen : lab_->seen()) EXPECT_EQ(seen.server, "public");
}

TEST_F(BridgeTest, TwoSandboxesCannotTalk) {
  const Sandbox one = make(), two = make();
  lab_->serve(two.netns.get(), "neighbour");
  EXPECT_TRUE(NetLab::reaches(two.netns.get(), "127.0.0.1")) << "its server works";
  EXPECT_FALSE(NetLab::reaches(one.netns.get(), two.address()));
  NetLab::send_datagram(one.netns.get(), two.address(), "forbidden");
  EXPECT_FALSE(NetLab::reaches(two.netns.get(), one.address()));
  EXPECT_FALSE(lab_->saw("forbidden"));
}

TEST_F(BridgeTest, SandboxesOfTwoLaunchersCannotTalk) {
  const Sandbox one = make();
  auto second = Bridge::setup({}).value();
  EXPECT_NE(second->range().address, bridge().range().address);
  const UniqueFd netns = make_network_namespace().value();
  const auto at = second->attach(netns.get()).value();
  lab_->serve(netns.get(), "neighbour");
  EXPECT_FALSE(NetLab::reaches(one.netns.get(), dotted(at.address)));
  EXPECT_TRUE(NetLab::reaches(netns.get(), NetLab::kPublic));
  EXPECT_TRUE(NetLab::reaches(one.netns.get(), NetLab::kPublic));
}

TEST_F(BridgeTest, TheHostAndItsSurroundingsStartNoConnectionToASandbox) {
  const Sandbox box = make();
  lab_->serve(box.netns.get(), "sandbox");
  EXPECT_FALSE(NetLab::reaches(lab_->host(), box.address()));
  NetLab::add_route(lab_->space("public"), box.address() + "/32", "192.0.2.2");
  EXPECT_FALSE(NetLab::reaches(lab_->space("public"), box.address()));
  // Its ports are reached from inside.
  auto connection = InsideConnection::start(box.netns.get(), NetLab::kTcpPort).value();
  EXPECT_EQ(connection.state(), InsideConnection::State::connected);
}

TEST_F(BridgeTest, ASpoofedSourceIsDropped) {
  const Sandbox box = make(), neighbour = make();
  for (const std::string& source : {neighbour.address(), std::string("198.51.100.77"), std::string(NetLab::kHostPublic), std::string("10.200.0.77")}) {
    NetLab::add_address(box.netns.get(), "eth0", source + "/32");
    EXPECT_TRUE(NetLab::send_datagram(box.netns.get(), NetLab::kPublic2, "spoofed", source));
  }
  EXPECT_TRUE(NetLab::send_datagram(box.netns.get(), NetLab::kPublic2, "honest", box.address()));
  ASSERT_TRUE(lab_->wait_for("honest"));  // same wire, sent later
  EXPECT_FALSE(lab_->saw("spoofed"));
}

TEST_F(BridgeTest, CountsTrafficAsTheSandboxSeesIt) {
  const Sandbox box = make();
  const NetworkStats before = interface_stats(box.netns.get()).value();
  ASSERT_TRUE(NetLab::reaches(box.netns.get(), NetLab::kPublic));
  const NetworkStats after = interface_stats(box.netns.get()).value();
  EXPECT_GT(after.rx_bytes, before.rx_bytes);
  EXPECT_GT(after.tx_bytes, before.tx_bytes);
}

TEST_F(BridgeTest, ForwardingIsOnlyForSandboxesAndIsRestored) {
  ASSERT_EQ(NetLab::read_sysctl(lab_->host(), "net/ipv4/conf/up0/forwarding"), "0");
  {
    const Sandbox box = make();
    EXPECT_EQ(NetLab::read_sysctl(lab_->host(), "net/ipv4/conf/up0/forwarding"), "1");
    EXPECT_EQ(NetLab::read_sysctl(lab_->host(), "net/ipv4/ip_forward"), "0");
    EXPECT_EQ(NetLab::read_sysctl(lab_->host(), "net/ipv4/conf/lan0/forwarding"), "0");
    // The outside cannot use the host as a way to its private network.
    NetLab::add_route(lab_->space("public"), "192.168.50.0/24", "192.0.2.2");
    NetLab::send_datagram(lab_->space("public"), NetLab::kPrivate, "through");
    EXPECT_TRUE(NetLab::send_datagram(box.netns.get(), NetLab::kPublic, "fence"));
    ASSERT_TRUE(lab_->wait_for("fence"));
    EXPECT_FALSE(lab_->saw("through"));
  }
  auto second = Bridge::setup({}).value();
  bridge_.reset();
  EXPECT_EQ(NetLab::read_sysctl(lab_->host(), "net/ipv4/conf/up0/forwarding"), "1") << "another still needs it";
  second.reset();
  EXPECT_EQ(NetLab::read_sysctl(lab_->host(), "net/ipv4/conf/up0/forwarding"), "0");
}

TEST_F(BridgeTest, LeavesForwardingThatTheHostWantsAlone) {
  NetLab::write_sysctl(lab_->host(), "net/ipv4/ip_forward", "1");
  bridge();
  bridge_.reset();
  EXPECT_EQ(NetLab::read_sysctl(lab_->host(), "net/ipv4/ip_forward"), "1");
  EXPECT_EQ(NetLab::read_sysctl(lab_->host(), "net/ipv4/conf/up0/forwarding"), "1");
}

TEST_F(BridgeTest, FailsClosedWhenForwardingMayNotBeSwitchedOn) {
  BridgeConfig config;
  config.may_enable_forwarding = false;
  auto refused = Bridge::setup(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::failed_precondition);
  EXPECT_NE(refused.error().message().find("forwarding"), std::string::npos) << refused.error().to_string();
  EXPECT_TRUE(tables().empty());
}

TEST_F(BridgeTest, TeardownLeavesNoLinkTableOrLock) {
  {
    const Sandbox one = make(), two = make();
    EXPECT_EQ(tables().size(), 1u);
    EXPECT_EQ(sandbox_links().size(), 2u);
    bridge_.reset();  // with sandboxes alive: their wires go first
    EXPECT_TRUE(tables().empty());
    EXPECT_TRUE(sandbox_links().empty());
    EXPECT_FALSE(NetLab::reaches(one.netns.get(), NetLab::kPublic));
  }
  bridge();  // the range is free again
}

TEST_F(BridgeTest, AWireDisappearsWithItsNamespace) {
  { const Sandbox box = make(); }
  EXPECT_TRUE(eventually([this] { return sandbox_links().empty(); }));
}

TEST_F(BridgeTest, OthersCannotFlushTheRulesAway) {
  const Sandbox box = make();
  auto other = os::NetlinkSocket::open(NETLINK_NETFILTER).value();
  os::FilterTransaction removal;
  removal.delete_table(tables().front());
  auto removed = removal.commit(other);
  if (bridge().watch_fd() < 0) {  // the kernel knows owners that persist
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().sys_errno(), EPERM);
  } else {
    removed.value();
    bridge().check().value();
  }
  EXPECT_EQ(tables().size(), 1u);
  EXPECT_FALSE(NetLab::reaches(box.netns.get(), NetLab::kPrivate));
  EXPECT_TRUE(NetLab::reaches(box.netns.get(), NetLab::kPublic));
}

TEST_F(BridgeTest, WhatAKilledLauncherLeavesStaysClosedAndIsSwept) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const UniqueFd netns = make_network_namespace().value();
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    auto made = Bridge::setup({});
    char result = made && (*made)->attach(netns.get()) ? '1' : '0';
    (void)!::write(ready[1], &result, 1);
    ::pause();
    ::_exit(0);
  }
  char result = 0;
  EXPECT_EQ(::read(ready[0], &result, 1), 1);
  EXPECT_EQ(result, '1');
  EXPECT_TRUE(NetLab::reaches(netns.get(), NetLab::kPublic));
  ::kill(child, SIGKILL);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  ::close(ready[0]);
  ::close(ready[1]);

  EXPECT_EQ(tables().size(), 1u) << "the rules outlive their maker";
  EXPECT_FALSE(NetLab::reaches(netns.get(), NetLab::kPrivate));
  EXPECT_FALSE(NetLab::reaches(netns.get(), NetLab::kHostPublic));
  bridge();
  EXPECT_EQ(tables().size(), 1u) << "only ours";
  EXPECT_TRUE(sandbox_links().empty());
  bridge_.reset();
  EXPECT_TRUE(tables().empty());
  EXPECT_EQ(NetLab::read_sysctl(lab_->host(), "net/ipv4/conf/up0/forwarding"), "0") << "inherited and restored";
}

TEST_F(BridgeTest, GivesOutEveryAddressOfASmallRangeOnceAndSaysWhenItIsFull) {
  BridgeConfig config;
  config.range = {0x0a310000, 28};
  bridge(config);
  std::vector<UniqueFd> spaces;
  std::vector<std::uint32_t> addresses;
  for (int i = 0; i < 13; ++i) {
    spaces.push_back(make_network_namespace().value());
    addresses.push_back(bridge().attach(spaces.back().get()).value().address);
  }
  std::sort(addresses.begin(), addresses.end());
  EXPECT_EQ(std::unique(addresses.begin(), addresses.end()), addresses.end());
  EXPECT_EQ(addresses.front(), 0x0a310002u);
  EXPECT_EQ(addresses.back(), 0x0a31000eu);
  const UniqueFd one_more = make_network_namespace().value();
  auto full = bridge().attach(one_more.get());
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), ErrorCode::resource_exhausted);
  EXPECT_EQ(NetLab::interfaces(one_more.get()), std::vector<std::string>{"lo"});
}

TEST_F(BridgeTest, RefusesARangeThatTheHostHasRoutesTo) {
  BridgeConfig config;
  config.range = {0x0ac80000, 16};  // 10.200.0.0/16
  auto refused = Bridge::setup(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::failed_precondition);
  EXPECT_NE(refused.error().message().find("10.200.0.0/24"), std::string::npos) << refused.error().to_string();
}

TEST_F(BridgeTest, LaunchersShareAWideRangeAndNotANarrowOne) {
  BridgeConfig config;
  config.range = {0x0a400000, 15};  // 10.64.0.0/15
  auto first = Bridge::setup(config).value(), second = Bridge::setup(config).value();
  EXPECT_EQ(first->range().address, 0x0a400000u);
  EXPECT_EQ(second->range().address, 0x0a410000u);
  auto third = Bridge::setup(config);
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code(), ErrorCode::failed_precondition);
  config.range = {0x0a400000, 24};
  auto same = Bridge::setup(config);
  ASSERT_FALSE(same);
  EXPECT_EQ(same.error().code(), ErrorCode::failed_precondition);
  config.range = {0x0a400001, 24};
  auto odd = Bridge::setup(config);
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().code(), ErrorCode::invalid_argument);
}

TEST_F(BridgeTest, HonoursNetworksDeniedOnTop) {
  BridgeConfig config;
  config.also_denied = {{0xcb007100, 24}};  // 203.0.113.0/24
  bridge(config);
  const Sandbox box = make();
  EXPECT_TRUE(NetLab::reaches(box.netns.get(), NetLab::kPublic));
  EXPECT_FALSE(NetLab::reaches(box.netns.get(), NetLab::kPublic2));
}

TEST_F(BridgeTest, GivesASandboxNoIpv6Address) {
  const Sandbox box = make();
  NetLab::Inside inside(box.netns.get());
  std::string text;
  if (FILE* file = ::fopen("/proc/thread-self/net/if_inet6", "r")) {
    char line[256];
    while (::fgets(line, sizeof line, file)) text += line;
    ::fclose(file);
  }
  EXPECT_EQ(text.find("eth0"), std::string::npos) << text;
}

}  // namespace
}  // namespace sandbox::launcher
