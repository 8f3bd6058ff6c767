// The launcher as somebody hostile (or broken) on its control socket would find it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "backends/native/launcher.hpp"
#include "core/clock.hpp"
#include "launch/plan.hpp"
#include "os/fd_passing.hpp"
#include "os/process.hpp"
#include "protocol/build_id.hpp"

namespace {

using namespace sandbox;
using namespace std::chrono_literals;

class LauncherSession : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    const char* bin = std::getenv("SANDBOX_BIN_DIR");
    ASSERT_NE(bin, nullptr);
    core::UniqueFd program(::open((std::string(bin) + "/sandbox-launcher").c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(program);
    auto ends = os::socket_pair(SOCK_SEQPACKET).value();
    const int passed[] = {ends.second.get()};
    process_.emplace(os::PidfdProcess::spawn(program.get(), {"sandbox-launcher"}, passed).value());
    socket_ = std::move(ends.first);
  }
  void send(const launch::Request& request, std::span<const int> fds = {}) { send_bytes(protocol::encode(request), fds); }
  void send_bytes(const std::string& bytes, std::span<const int> fds = {}) {
    os::send_packet(socket_.get(), as_bytes(bytes), fds).ignore("the launcher may have ended already");
  }
  template <class Body>
  void send(launch::Kind kind, const Body& body, std::span<const int> fds = {}) {
    launch::Request request;
    request.number = ++number_;
    request.kind = kind;
    request.body = protocol::encode(body);
    send(request, fds);
  }
  launch::Reply reply() {
    std::vector<std::byte> buffer(launch::kMaxMessage);
    pollfd news{socket_.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&news, 1, 5000), 1);
    auto packet = os::receive_packet(socket_.get(), buffer);
    if (!packet) {
      ADD_FAILURE() << packet.error().to_string();
      return {};
    }
    return protocol::decode<launch::Reply>(ByteView(buffer.data(), packet->size)).value();
  }
  static launch::Configure configuration() {
    launch::Configure configure;
    configure.build = protocol::build_id();
    return configure;
  }
  void send_configure(const launch::Configure& configure) {
    const core::UniqueFd agent(::open("/bin/true", O_RDONLY | O_CLOEXEC));
    auto notes = os::socket_pair(SOCK_SEQPACKET | SOCK_NONBLOCK).value();
    notes_ = std::move(notes.first);
    const int fds[] = {agent.get(), notes.second.get()};
    send(launch::Kind::configure, configure, fds);
  }
  void configure() {
    send_configure(configuration());
    EXPECT_EQ(reply().code, 0);
  }
  void note(const std::string& bytes, std::span<const int> fds = {}) { os::send_packet(notes_.get(), as_bytes(bytes), fds).value(); }
  /// Expects the launcher to end by itself with the code for broken rules.
  void expect_end() {
    auto status = process_->wait(core::SteadyClock::now() + 5s);
    ASSERT_TRUE(status) << status.error().to_string();
    EXPECT_TRUE(WIFEXITED(*status));
    EXPECT_EQ(WEXITSTATUS(*status), 65);
  }
  launch::LaunchPlan plan() {
    launch::LaunchPlan plan;
    plan.recipe = 1;
    plan.tree.layers = {"/"};
    plan.hostname = "h";
    plan.workdir = "/";
    plan.memory = 64 << 20;
    plan.cpu_quota = 100000;
    plan.pids = 16;
    plan.open_files = 64;
    plan.disk = 1 << 20;
    plan.inodes = 64;
    plan.filter = std::string(8, '\0');
    return plan;
  }
  std::optional<os::PidfdProcess> process_;
  core::UniqueFd socket_, notes_;
  std::uint64_t number_ = 0;
};

TEST_F(LauncherSession, EndsWhenTheSocketCloses) {
  socket_.reset();
  auto status = process_->wait(core::SteadyClock::now() + 5s);
  ASSERT_TRUE(status) << status.error().to_string();
  EXPECT_EQ(*status, 0);
}

TEST_F(LauncherSession, AnythingBeforeConfigureEndsIt) {
  send(launch::Kind::prepare, plan());
  expect_end();
}

TEST_F(LauncherSession, ConfigureTwiceEndsIt) {
  configure();
  send_configure(configuration());
  expect_end();
}

TEST_F(LauncherSession, ALibraryOfAnotherBuildIsNamed) {
  launch::Configure other = configuration();
  other.build = "9.9.9+0";
  send_configure(other);
  const auto refused = reply();
  EXPECT_NE(refused.code, 0);
  EXPECT_NE(refused.message.find("the library is build 9.9.9+0"), std::string::npos) << refused.message;
}

TEST_F(LauncherSession, CommitIsForLaunchersThatPersist) {
  configure();
  launch::Commit commit;
  commit.id = 1;
  commit.record = "r";
  send(launch::Kind::commit, commit);
  EXPECT_NE(reply().code, 0);
  core::UniqueFd not_a_socket(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int fds[] = {not_a_socket.get()};
  launch::Persist persist;
  persist.path = "/tmp/never-made.sock";
  send(launch::Kind::persist, persist, fds);
  EXPECT_NE(reply().code, 0);
  send(launch::Kind::persist, persist);  // and without a descriptor it is no request at all
  expect_end();
}

TEST_F(LauncherSession, ConfigureWithoutAnAgentEndsIt) {
  send(launch::Kind::configure, launch::Configure());
  expect_end();
}

TEST_F(LauncherSession, ANoteIsReadWithTheNextRequest) {
  configure();
  launch::Commit commit;
  commit.id = 7;  // nobody's: notes have no answers
  commit.record = "r";
  launch::Request request;
  request.kind = launch::Kind::commit;
  request.body = protocol::encode(commit);
  note(protocol::encode(request));
  send(launch::Kind::ping, protocol::Empty());
  EXPECT_EQ(reply().code, 0);
  pollfd room{notes_.get(), POLLOUT, 0};
  ASSERT_EQ(::poll(&room, 1, 0), 1);
  int unread = -1;
  ASSERT_EQ(::ioctl(notes_.get(), SIOCOUTQ, &unread), 0);
  EXPECT_EQ(unread, 0);
}

TEST_F(LauncherSession, WhatIsNoNoteEndsIt) {
  const auto as_note = [](launch::Kind kind, std::uint64_t number) {
    launch::Request request;
    request.kind = kind;
    request.number = number;
    return protocol::encode(request);
  };
  const core::UniqueFd extra(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int fds[] = {extra.get()};
  const std::function<void()> wrong[] = {
      [&] { note("\xff\xff\xff this is no request"); },
      [&] { note(as_note(launch::Kind::destroy, 0)); },
      [&] { note(as_note(launch::Kind::commit, 1)); },
      [&] { note(as_note(launch::Kind::commit, 0), fds); },
  };
  for (const auto& write : wrong) {
    if (!socket_) SetUp();
    configure();
    write();
    send(launch::Kind::ping, protocol::Empty());
    expect_end();
    socket_.reset();
  }
}

TEST(LauncherNotes, BeyondTheirRoomTheyAreSaidAloud) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const core::UniqueFd program(::open((std::string(std::getenv("SANDBOX_BIN_DIR")) + "/sandbox-launcher").c_str(), O_RDONLY | O_CLOEXEC));
  const core::UniqueFd agent(::open("/bin/true", O_RDONLY | O_CLOEXEC));
  launch::Configure configure;
  configure.build = protocol::build_id();
  const auto deadline = core::SteadyClock::now() + 10s;
  const auto launcher = native::Launcher::start(program.get(), agent.get(), configure, deadline).value();
  launch::Commit commit;
  commit.id = 7;
  commit.record.assign(4 << 10, 'r');
  // Ten times what a socket takes: nothing blocks, nothing is refused, and the launcher goes on.
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(launcher->try_note(launch::Kind::commit, protocol::encode(commit))) << i;
  EXPECT_TRUE(launcher->call(launch::Kind::ping, {}, deadline));
  launcher->close(deadline);
  const auto late = launcher->try_note(launch::Kind::commit, protocol::encode(commit));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), ErrorCode::unavailable);
}

TEST_F(LauncherSession, DescriptorsWhereNoneBelongEndIt) {
  configure();
  const int fds[] = {0};
  send(launch::Kind::ping, protocol::Empty(), fds);
  expect_end();
}

TEST_F(LauncherSession, GarbageEndsIt) {
  configure();
  send_bytes("\xff\xff\xff this is no request");
  expect_end();
}

TEST_F(LauncherSession, UnknownRequestEndsIt) {
  configure();
  launch::Request request;
  request.number = 9;
  request.kind = static_cast<launch::Kind>(200);
  send(request);
  expect_end();
}

TEST_F(LauncherSession, BadPlansAreRefusedAndItGoesOn) {
  configure();
  const auto refused = [&](auto change) {
    launch::LaunchPlan bad = plan();
    change(bad);
    send(launch::Kind::prepare, bad);
    const auto answer = reply();
    EXPECT_NE(answer.code, 0);
    return answer.message;
  };
  EXPECT_THAT(refused([](auto& p) { p.recipe = 0; }), ::testing::HasSubstr("recipe"));
  EXPECT_THAT(refused([](auto& p) { p.tree.layers = {"relative"}; }), ::testing::HasSubstr("layers"));
  EXPECT_THAT(refused([](auto& p) { p.filter = "1234567"; }), ::testing::HasSubstr("filter"));
  EXPECT_THAT(refused([](auto& p) { p.tree.entries.push_back({launch::EntryKind::bind, "../usr", "/usr", 0}); }), ::testing::HasSubstr("path"));
  EXPECT_THAT(refused([](auto& p) { p.memory = 1; }), ::testing::HasSubstr("memory"));
  EXPECT_THAT(refused([](auto& p) { p.environment = {"=x"}; }), ::testing::HasSubstr("environment"));
  send(launch::Kind::ping, protocol::Empty());
  EXPECT_EQ(reply().code, 0);
}

TEST_F(LauncherSession, UnknownNumbersAreNotFound) {
  configure();
  launch::Target target;
  target.id = 99;
  for (const auto kind : {launch::Kind::destroy, launch::Kind::outcome, launch::Kind::stats, launch::Kind::freeze, launch::Kind::thaw,
                          launch::Kind::writable}) {
    send(kind, target);
    EXPECT_EQ(reply().code, static_cast<int>(ErrorCode::not_found));
  }
  launch::Create create;
  create.recipe = 7;
  send(launch::Kind::create, create);
  EXPECT_EQ(reply().code, static_cast<int>(ErrorCode::not_found));
}

}  // namespace
