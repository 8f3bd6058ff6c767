#include <sys/stat.h>

#include <fstream>
#include <future>
#include <thread>

#include "support/eventually.hpp"
#include "unit/runtime/fixture.hpp"

namespace sandbox::runtime {
namespace {

using testing::RuntimeTest;
using namespace std::chrono_literals;
using Kind = RuntimeEvent::Kind;

class LocalBoxTest : public RuntimeTest {};

TEST_F(LocalBoxTest, CloseDestroysAndIsIdempotent) {
  open(options());
  const auto box = create();
  EXPECT_FALSE(box->closed());
  EXPECT_TRUE(box->close());
  EXPECT_TRUE(box->closed());
  EXPECT_EQ(script_->alive(), 0);
  EXPECT_TRUE(box->close());
  EXPECT_EQ(box->usable().error().code(), ErrorCode::failed_precondition);
  EXPECT_EQ(box->stats().error().code(), ErrorCode::failed_precondition);
  EXPECT_EQ(box->pause().error().code(), ErrorCode::failed_precondition);
  EXPECT_TRUE(box->link()->failed());
  EXPECT_EQ(script_->destroyed, 1);
}

TEST_F(LocalBoxTest, TheLastHandleDestroys) {
  open(options());
  create();
  EXPECT_EQ(script_->alive(), 0);
  EXPECT_EQ(state_->live(), 0u);
}

TEST_F(LocalBoxTest, ConcurrentClosesDestroyOnce) {
  open(options());
  for (int round = 0; round < 20; ++round) {
    const auto box = create();
    std::vector<std::future<bool>> closers;
    for (int i = 0; i < 4; ++i)
      closers.push_back(std::async(std::launch::async, [&] { return box->close().has_value() && script_->alive() == 0; }));
    for (auto& closer : closers) EXPECT_TRUE(closer.get()) << "whoever returns from close() finds nothing left";
  }
  EXPECT_EQ(script_->destroyed, 20);
}

TEST_F(LocalBoxTest, EndingByItselfIsReportedWithItsReason) {
  open(options());
  const auto box = create();
  script_->oom = 2;
  script_->kill_one();
  ASSERT_TRUE(wait_for(Kind::lost));
  EXPECT_EQ(last(Kind::lost).sandbox_id, box->id());
  EXPECT_NE(last(Kind::lost).detail.find("out of memory"), std::string::npos);
  auto usable = box->usable();
  ASSERT_FALSE(usable);
  EXPECT_EQ(usable.error().code(), ErrorCode::unavailable);
  EXPECT_NE(usable.error().message().find("out of memory"), std::string::npos);
  EXPECT_EQ(state_->live(), 0u) << "its place is free before the handle is gone";
  EXPECT_EQ(script_->alive(), 0);
  EXPECT_FALSE(box->closed());
  EXPECT_TRUE(box->close());
  EXPECT_TRUE(box->closed());
  // What is still under way when its owner, who saw that end, closes it, hears of the end and not of the closing.
  usable = box->usable();
  ASSERT_FALSE(usable);
  EXPECT_EQ(usable.error().code(), ErrorCode::unavailable);
}

TEST_F(LocalBoxTest, AWaitingCallEndsWhenTheSandboxDoes) {
  open(options());
  const auto box = create();
  auto waiting = std::async(std::launch::async, [&] {
    return box->link()->wait_until([] { return false; }, core::SteadyClock::now() + 10s);
  });
  script_->kill_one();
  auto result = waiting.get();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::unavailable);
}

TEST_F(LocalBoxTest, APausedSandboxRefusesWork) {
  open(options());
  const auto box = create();
  EXPECT_TRUE(box->pause());
  EXPECT_TRUE(box->pause());
  EXPECT_EQ(box->usable().error().code(), ErrorCode::failed_precondition);
  EXPECT_TRUE(box->resume());
  EXPECT_TRUE(box->usable());
}

/// A TCP server on this host that stands in for one inside: sends back what it gets, then an exclamation mark.
class EchoServer {
 public:
  EchoServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_.get(), 16) != 0 ||
        ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
      std::abort();
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (;;) {
        const core::UniqueFd connection(::accept(listener_.get(), nullptr, nullptr));
        if (!connection) return;
        char buffer[65536];
        ssize_t got = 0;
        while ((got = ::read(connection.get(), buffer, sizeof buffer)) > 0)
          for (ssize_t at = 0; at < got;) at += ::write(connection.get(), buffer + at, static_cast<std::size_t>(got - at));
        if (::write(connection.get(), "!", 1) != 1) return;  // only after the half-close came through
      }
    });
  }
  ~EchoServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::uint16_t port() const { return port_; }

 private:
  core::UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

core::UniqueFd dial(std::uint16_t port) {
  core::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) socket.reset();
  return socket;
}

std::string read_all(int fd) {
  std::string all;
  char buffer[65536];
  for (ssize_t got = 0; (got = ::read(fd, buffer, sizeof buffer)) > 0;) all.append(buffer, static_cast<std::size_t>(got));
  return all;
}

TEST_F(LocalBoxTest, ExposeRelaysBothWaysWithHalfClose) {
  EchoServer server;
  open(options());
  const auto box = create();
  EXPECT_EQ(box->expose(8080, 0, 20ms, {}).error().code(), ErrorCode::deadline_exceeded) << "nobody listens yet";
  script_->served_by = server.port();
  script_->listening = 8080;
  auto exposed = box->expose(8080, 0, 5s, {});
  ASSERT_TRUE(exposed) << exposed.error().to_string();
  EXPECT_EQ(exposed->host_address, "127.0.0.1");
  EXPECT_EQ(box->expose(8080, 0, 1s, {}).error().code(), ErrorCode::already_exists);
  EXPECT_EQ(box->exposed()->size(), 1u);

  for (int round = 0; round < 3; ++round) {
    const core::UniqueFd client = dial(exposed->host_port);
    ASSERT_TRUE(client);
    const std::string text(1 << 20, static_cast<char>('a' + round));
    auto reader = std::async(std::launch::async, [&] { return read_all(client.get()); });
    for (std::size_t at = 0; at < text.size();) {
      const ssize_t wrote = ::write(client.get(), text.data() + at, text.size() - at);
      ASSERT_GT(wrote, 0);
      at += static_cast<std::size_t>(wrote);
    }
    ::shutdown(client.get(), SHUT_WR);
    EXPECT_EQ(reader.get(), text + "!");
  }

  EXPECT_TRUE(box->unexpose(8080));
  EXPECT_EQ(box->unexpose(8080).error().code(), ErrorCode::not_found);
  EXPECT_FALSE(dial(exposed->host_port)) << "nobody listens any more";
}

TEST_F(LocalBoxTest, AHostPortInUseIsSaid) {
  EchoServer server;
  open(options());
  const auto box = create();
  script_->listening = 80;
  auto exposed = box->expose(80, server.port(), 1s, {});
  ASSERT_FALSE(exposed);
  EXPECT_EQ(exposed.error().code(), ErrorCode::already_exists);
}

TEST_F(LocalBoxTest, AStopEndsTheWaitForAListener) {
  open(options());
  const auto box = create();
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] { return box->expose(8080, 0, 60s, stop.get_token()); });
  ASSERT_TRUE(sandbox::testing::eventually([&] { return script_->looks > 0; }));
  const auto taken = box->expose(8080, 0, 1ms, {});
  EXPECT_EQ(taken.error().code(), ErrorCode::already_exists);
  const auto begin = core::SteadyClock::now();
  stop.request_stop();
  const auto exposed = waiting.get();
  ASSERT_FALSE(exposed);
  EXPECT_EQ(exposed.error().code(), ErrorCode::cancelled);
  EXPECT_LT(core::SteadyClock::now() - begin, 20s);
  // Asked to stop already: nothing is opened, even if somebody listens.
  script_->listening = 8080;
  EXPECT_EQ(box->expose(8080, 0, 60s, stop.get_token()).error().code(), ErrorCode::cancelled);
  EXPECT_TRUE(box->exposed()->empty());
  EXPECT_TRUE(box->expose(8080, 0, 1s, {}));
}

TEST_F(LocalBoxTest, ClosingTheSandboxEndsItsRelays) {
  EchoServer server;
  open(options());
  const auto box = create();
  script_->served_by = server.port();
  script_->listening = 8080;
  auto exposed = box->expose(8080, 0, 5s, {});
  ASSERT_TRUE(exposed);
  const core::UniqueFd client = dial(exposed->host_port);
  ASSERT_EQ(::write(client.get(), "x", 1), 1);
  char echoed = 0;
  ASSERT_EQ(::read(client.get(), &echoed, 1), 1);
  EXPECT_TRUE(box->close());
  EXPECT_LE(::read(client.get(), &echoed, 1), 0) << "the connection ended with the sandbox";
  EXPECT_FALSE(dial(exposed->host_port));
}

TEST_F(LocalBoxTest, ConnectRetriesUntilSomebodyListens) {
  EchoServer server;
  open(options());
  const auto box = create();
  EXPECT_EQ(box->connect(7, 30ms).error().code(), ErrorCode::unavailable);
  script_->served_by = server.port();
  auto later = std::async(std::launch::async, [&] {
    std::this_thread::sleep_for(30ms);
    script_->listening = 7;
  });
  auto socket = box->connect(7, 5s);
  ASSERT_TRUE(socket) << socket.error().to_string();
  ::close(*socket);
}

TEST_F(LocalBoxTest, WhatIsKnownIsSaidWhenTheLastAnswerIsLate) {
  open(options());
  const auto box = create();
  script_->refusals = 2;
  EXPECT_EQ(box->connect(7, 5s).error().code(), ErrorCode::unavailable) << "it was refused; that it could not be asked again is no news";
  script_->refusals = 0;
  EXPECT_EQ(box->connect(7, 5s).error().code(), ErrorCode::deadline_exceeded) << "nothing is known";
}

TEST_F(LocalBoxTest, SavesATemplateAndCreatesFromIt) {
  open(options());
  script_->writable = directory_ + "/writable";
  std::filesystem::create_directories(script_->writable + "/root/project");
  std::filesystem::create_directories(script_->writable + "/tmp");
  std::ofstream(script_->writable + "/root/project/hello") << "hello";
  const auto box = create();
  auto saved = box->save_template("first");
  ASSERT_TRUE(saved) << saved.error().to_string();
  EXPECT_TRUE(box->usable()) << "it goes on afterwards";
  EXPECT_TRUE(wait_for(Kind::template_saved));
  EXPECT_EQ(saved->label, "first");
  ASSERT_EQ(state_->store().templates()->size(), 1u);

  {
    const auto copy = create(SandboxSpec().image(Image::from_template(saved->id)));
    ASSERT_NE(copy, nullptr);
    EXPECT_TRUE(script_->image.host_userland);
    std::ifstream file(script_->image.scratch_layer + "/root/project/hello");
    std::string text;
    file >> text;
    EXPECT_EQ(text, "hello");
    auto removed = state_->remove_template(saved->id);
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().code(), ErrorCode::failed_precondition);
  }
  auto removed = state_->remove_template(saved->id);
  EXPECT_TRUE(removed) << removed.error().to_string();
  EXPECT_TRUE(wait_for(Kind::template_removed));
  auto gone = state_->create(SandboxSpec().image(Image::from_template(saved->id)), CreateOptions());
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code(), ErrorCode::not_found);
}

TEST_F(LocalBoxTest, OneThatEndsMeanwhileHasEndedAndIsNotUnknown) {
  open(options());
  script_->writable = directory_ + "/writable";
  std::filesystem::create_directories(script_->writable + "/root");
  std::filesystem::create_directories(script_->writable + "/tmp");
  script_->ends_when_resumed = true;
  const auto paused = create(), saved = create();
  ASSERT_TRUE(paused->pause());
  const auto resumed = paused->resume();
  ASSERT_FALSE(resumed);
  EXPECT_EQ(resumed.error().code(), ErrorCode::unavailable) << resumed.error().to_string();
  const auto kept = saved->save_template("first");
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code(), ErrorCode::unavailable) << kept.error().to_string();
}

}  // namespace
}  // namespace sandbox::runtime
