#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>

#include <sandbox/net.hpp>
#include <sandbox/runtime.hpp>
#include <sandbox/sandbox.hpp>

#include "core/unique_fd.hpp"
#include "os/net_filter.hpp"
#include "support/live_runtime.hpp"
#include "support/netlab.hpp"

/// The whole runtime inside the laboratory's host: library, launchers, agents.
namespace sandbox::testing {
namespace {

class BridgedRuntime : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    lab_ = std::make_unique<NetLab>();
    host_.emplace(lab_->host());
    runtime_ = std::make_unique<Runtime>(Runtime::open(RuntimeOptions().state_directory(state_.path())).value());
  }
  void TearDown() override {
    if (runtime_) {
      EXPECT_OK(runtime_->close());
    }
    runtime_.reset();
    if (lab_) {
      EXPECT_EQ(left_over(), "");
    }
    host_.reset();
    lab_.reset();
  }
  std::string left_over() {
    std::string text;
    for (const std::string& name : NetLab::interfaces(lab_->host())) {
      if (name.starts_with("sbx")) text += name + " ";
    }
    auto filter = os::NetlinkSocket::open(NETLINK_NETFILTER).value();
    for (const std::string& name : os::filter_tables(filter).value()) text += name + " ";
    return text;
  }
  /// Python's exit code of one connection attempt from inside: 0 connected, 1 an exception (and 127 no python3).
  static constexpr int kRefused = 1;
  static int probe(Sandbox& box, const std::string& address) {
    return box.process()
        .exec("python3 -c 'import socket; socket.create_connection((\"" + address + "\", 8088), 0.3)'")
        .value()
        .exit_code;
  }

  StateDirectory state_;
  std::unique_ptr<NetLab> lab_;
  std::optional<NetLab::Inside> host_;
  std::unique_ptr<Runtime> runtime_;
};

TEST_F(BridgedRuntime, ReachesPublicAddressesOnly) {
  Sandbox box = runtime_->create(SandboxSpec().network(Network::bridge)).value();
  EXPECT_EQ(probe(box, NetLab::kPublic), 0);
  for (const char* address : {NetLab::kHostPublic, NetLab::kHostPrivate, NetLab::kPrivate, NetLab::kPrivateTen, NetLab::kMetadata}) {
    EXPECT_EQ(probe(box, address), kRefused) << address;
  }
  for (const auto& seen : lab_->seen()) {
    EXPECT_EQ(seen.server, "public");
    EXPECT_EQ(seen.from, NetLab::kHostPublic);
  }
  const std::string servers = box.fs().read_text("/etc/resolv.conf").value();
  EXPECT_NE(servers.find("nameserver 1.1.1.1"), std::string::npos) << servers;
  EXPECT_GT(box.stats().value().network_tx_bytes, 0u);
}

TEST_F(BridgedRuntime, NetworkNoneReachesNothingAndItsPortsAreReachedFromOutside) {
  Sandbox box = runtime_->create().value();
  for (const char* address : {NetLab::kPublic, NetLab::kHostPublic, NetLab::kPrivate, NetLab::kMetadata}) EXPECT_EQ(probe(box, address), kRefused) << address;
  EXPECT_TRUE(lab_->seen().empty());
  box.process().exec("cd /tmp && (setsid python3 -m http.server 8123 --bind 127.0.0.1 >/dev/null 2>&1 &)").value();
  const core::UniqueFd socket(box.net().connect(8123, std::chrono::seconds(10)).value());
  const std::string_view request = "GET / HTTP/1.0\r\n\r\n";
  ASSERT_EQ(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  pollfd answered{socket.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&answered, 1, 10000), 1);
  char answer[8] = {};
  ASSERT_EQ(::recv(socket.get(), answer, 8, MSG_WAITALL), 8);
  EXPECT_EQ(std::string_view(answer, 8), "HTTP/1.0");
  EXPECT_EQ(box.stats().value().network_tx_bytes, 0u);
}

TEST_F(BridgedRuntime, SandboxesDoNotReachEachOther) {
  Sandbox one = runtime_->create(SandboxSpec().network(Network::bridge)).value();
  Sandbox two = runtime_->create(SandboxSpec().network(Network::bridge)).value();
  two.process().exec("cd /tmp && (setsid python3 -m http.server 8088 >/dev/null 2>&1 &)").value();
  const core::UniqueFd up(two.net().connect(8088, std::chrono::seconds(10)).value());
  const ExecResult asked = two.process()
                               .exec("python3 -c 'import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                                     "s.connect((\"198.51.100.10\", 9)); print(s.getsockname()[0], end=\"\")'")
                               .value();
  const std::string address(asked.stdout_text());
  ASSERT_NE(address, "");
  EXPECT_EQ(probe(two, address), 0) << "the server listens on its own address";
  EXPECT_EQ(probe(one, address), kRefused) << address;
}

}  // namespace
}  // namespace sandbox::testing
