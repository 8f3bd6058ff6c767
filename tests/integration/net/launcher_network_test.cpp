#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "network.hpp"
#include "support/netlab.hpp"

namespace sandbox::launcher {
namespace {

using core::UniqueFd;
using testing::NetLab;

ino_t own_inode() {
  struct stat status {};
  EXPECT_EQ(::stat("/proc/thread-self/ns/net", &status), 0);
  return status.st_ino;
}
ino_t inode_of(int fd) {
  struct stat status {};
  EXPECT_EQ(::fstat(fd, &status), 0);
  return status.st_ino;
}

/// A listening socket in `netns`. Returns its port.
UniqueFd listen_in(int netns, int family, std::uint16_t& port, bool only_v6 = true) {
  NetLab::Inside inside(netns);
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = only_v6 ? in6addr_loopback : in6addr_any;
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool is_v6 = family == AF_INET6;
  EXPECT_EQ(::bind(fd.get(), is_v6 ? reinterpret_cast<sockaddr*>(&v6) : reinterpret_cast<sockaddr*>(&v4), is_v6 ? sizeof v6 : sizeof v4), 0);
  EXPECT_EQ(::listen(fd.get(), 4), 0);
  socklen_t size = sizeof v6;
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&v6), &size), 0);
  port = ntohs(v6.sin6_port);
  return fd;
}

class LauncherNetwork : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    here_ = own_inode();
    netns_ = make_network_namespace().value();
  }
  void TearDown() override {
    if (netns_) {
      EXPECT_EQ(own_inode(), here_) << "left its namespace";
    }
  }
  ino_t here_ = 0;
  UniqueFd netns_;
};

TEST_F(LauncherNetwork, MakesANamespaceWithOnlyLoopbackUp) {
  EXPECT_NE(inode_of(netns_.get()), here_);
  EXPECT_EQ(NetLab::interfaces(netns_.get()), std::vector<std::string>{"lo"});
  std::uint16_t port = 0;
  const UniqueFd server = listen_in(netns_.get(), AF_INET, port);
  EXPECT_TRUE(NetLab::reaches(netns_.get(), "127.0.0.1", port));
}

TEST_F(LauncherNetwork, ConnectsInsideToEitherLoopbackAddress) {
  for (const int family : {AF_INET, AF_INET6}) {
    std::uint16_t port = 0;
    const UniqueFd server = listen_in(netns_.get(), family, port);
    auto connection = InsideConnection::start(netns_.get(), port).value();
    ASSERT_EQ(connection.state(), InsideConnection::State::connected);
    const UniqueFd ours = connection.take();
    const UniqueFd theirs(::accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(theirs);
    ASSERT_EQ(::write(ours.get(), "in", 2), 2);
    char text[2];
    ASSERT_EQ(::read(theirs.get(), text, 2), 2);
    EXPECT_EQ(std::string_view(text, 2), "in");
  }
}

TEST_F(LauncherNetwork, ReportsARefusedPortAndNeverReachesTheHostsOwn) {
  std::uint16_t port = 0;
  const UniqueFd hosts = listen_in(NetLab::make_space().get(), AF_INET, port);  // somebody else's listener
  auto connection = InsideConnection::start(netns_.get(), port).value();
  EXPECT_EQ(connection.state(), InsideConnection::State::refused);
  EXPECT_FALSE(listening_inside(netns_.get(), port).value());
}

TEST_F(LauncherNetwork, AFullBacklogStaysPendingUntilThereIsRoom) {
  std::uint16_t port = 0;
  const UniqueFd server = listen_in(netns_.get(), AF_INET, port);
  ASSERT_EQ(::listen(server.get(), 0), 0);
  std::vector<UniqueFd> filling;
  bool pending = false;
  for (int i = 0; i < 8 && !pending; ++i) {
    auto connection = InsideConnection::start(netns_.get(), port).value();
    pending = connection.state() == InsideConnection::State::pending;
    if (pending) {
      EXPECT_EQ(connection.advance(netns_.get()).value(), InsideConnection::State::pending);
      EXPECT_GE(connection.fd(), 0);
    }
    filling.push_back(connection.take());
  }
  EXPECT_TRUE(pending);
}

TEST_F(LauncherNetwork, RefusesPortZero) {
  auto connection = InsideConnection::start(netns_.get(), 0);
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().code(), ErrorCode::invalid_argument);
  auto listening = listening_inside(netns_.get(), 0);
  ASSERT_FALSE(listening);
  EXPECT_EQ(listening.error().code(), ErrorCode::invalid_argument);
}

TEST_F(LauncherNetwork, SeesListenersWithoutConsumingAConnection) {
  std::uint16_t v4 = 0, v6 = 0, both = 0;
  const UniqueFd server4 = listen_in(netns_.get(), AF_INET, v4);
  const UniqueFd server6 = listen_in(netns_.get(), AF_INET6, v6);
  const UniqueFd server_any = listen_in(netns_.get(), AF_INET6, both, false);
  EXPECT_TRUE(listening_inside(netns_.get(), v4).value());
  EXPECT_TRUE(listening_inside(netns_.get(), v6).value());
  EXPECT_TRUE(listening_inside(netns_.get(), both).value());
  EXPECT_EQ(::accept4(server4.get(), nullptr, nullptr, SOCK_CLOEXEC), -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(LauncherNetwork, ABoundOrConnectedSocketIsNoListener) {
  std::uint16_t port = 0;
  const UniqueFd server = listen_in(netns_.get(), AF_INET, port);
  auto connection = InsideConnection::start(netns_.get(), port).value();
  const UniqueFd ours = connection.take();
  sockaddr_in local{};
  socklen_t size = sizeof local;
  ASSERT_EQ(::getsockname(ours.get(), reinterpret_cast<sockaddr*>(&local), &size), 0);
  EXPECT_FALSE(listening_inside(netns_.get(), ntohs(local.sin_port)).value());
}

TEST_F(LauncherNetwork, CountsNoTrafficOfLoopback) {
  std::uint16_t port = 0;
  const UniqueFd server = listen_in(netns_.get(), AF_INET, port);
  EXPECT_TRUE(NetLab::reaches(netns_.get(), "127.0.0.1", port));
  const NetworkStats stats = interface_stats(netns_.get()).value();
  EXPECT_EQ(stats.rx_bytes, 0u);
  EXPECT_EQ(stats.tx_bytes, 0u);
}

TEST_F(LauncherNetwork, ADescriptorThatIsNoNamespaceIsAnErrorAndNothingMoves) {
  const UniqueFd other(::dup(2));
  auto stats = interface_stats(other.get());
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace sandbox::launcher
