#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include <boost/asio/post.hpp>

#include "link/link.hpp"
#include "peer.hpp"

namespace sandbox::link::test {
namespace {

using namespace std::chrono_literals;

core::TimePoint after(core::Duration time) { return core::SteadyClock::now() + time; }

/// An agent in a thread whose session outlives its transports, and the dialling end of it.
class Agent final : public session::SessionHandler {
 public:
  explicit Agent(std::string id = "0123456789abcdef") : id_(std::move(id)), session_(session::Role::agent, options(id_), *this) {
    thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  }
  ~Agent() override { thread_.request_stop(); }

  /// The other end of a new transport; the old one is gone.
  core::UniqueFd connect() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
    std::lock_guard lock(mutex_);
    cut_locked();
    socket_.reset(ends[1]);
    // A client that asked for a session nobody knows has ended this one: agents make another for each that comes.
    if (session_.failed()) session_ = session::Session(session::Role::agent, options(id_), *this);
    else if (session_.ready()) session_.resume().value();
    return core::UniqueFd(ends[0]);
  }
  void cut() {
    std::lock_guard lock(mutex_);
    cut_locked();
  }
  int opens() const { return opens_; }

  session::StreamHandler* on_open(session::StreamId stream, Method method, ByteView params, std::string_view) override {
    ++opens_;
    auto served = serve(session_, stream, method, params);
    auto* raw = served.get();
    served_.push_back(std::move(served));
    return raw;
  }

 private:
  static session::Options options(std::string id) {
    session::Options options;
    options.resumable = true;
    options.hello.session_id = std::move(id);
    return options;
  }
  void cut_locked() {
    if (!socket_) return;
    ::shutdown(socket_.get(), SHUT_RDWR);
    socket_.reset();
    session_.disconnected();
  }
  void run(std::stop_token stop) {
    std::vector<std::byte> buffer(64 << 10);
    while (!stop.stop_requested()) {
      bool moved = false;
      {
        std::lock_guard lock(mutex_);
        if (socket_) {
          const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
          if (got > 0) session_.receive({buffer.data(), static_cast<std::size_t>(got)}).ignore("the client sees it"), moved = true;
          for (ByteView out = session_.output(); !out.empty(); out = session_.output()) {
            const ssize_t put = ::send(socket_.get(), out.data(), out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (put <= 0) break;
            session_.sent(static_cast<std::size_t>(put));
            moved = true;
          }
        }
      }
      if (!moved) std::this_thread::sleep_for(100us);
    }
  }

  std::mutex mutex_;
  core::UniqueFd socket_;
  std::atomic<int> opens_{0};
  std::vector<std::unique_ptr<AgentThread::Served>> served_;
  const std::string id_;
  session::Session session_;
  std::jthread thread_;
};

class Reconnects : public ::testing::Test {
 protected:
  Reconnects() {
    how.dial = [this](core::TimePoint, std::optional<Fingerprint>, Reconnect::Done done) {
      ++dials;
      boost::asio::post(dialler.context(), [this, done = std::move(done)] {
        std::unique_lock lock(mutex);
        const std::optional<Error> refused = refusal;
        auto socket = refused ? core::UniqueFd() : agent->connect();
        lock.unlock();
        if (refused) done(*refused);
        else done(Transport{socket_stream(std::move(socket)), std::nullopt});
      });
    };
    how.window = 20s;
  }
  ~Reconnects() override { reactor.stop(); }  // it may be in the middle of a dial, on its way to the dialler
  void refuse(std::optional<Error> why) {
    std::lock_guard lock(mutex);
    if (why) why->ignore("given to every dial");
    refusal = std::move(why);
  }
  std::string echo(Link& on, std::string text) {
    Collector call;
    on.with([&](session::Session& session) { call.open(session, Method::env_get, text); });
    auto done = on.wait_until([&] { return call.finished; }, after(20s));
    if (!done || !*done) {
      on.with([&](session::Session& session) { session.detach(call.id); });
      return done ? "timeout" : std::string(name(done.error().code()));
    }
    if (call.lost) return "lost: " + std::string(name(call.lost->code()));
    return call.end->result;
  }

  std::unique_ptr<Agent> agent = std::make_unique<Agent>();
  std::mutex mutex;
  std::optional<Error> refusal;
  std::atomic<int> dials{0};
  Reconnect how;
  aio::Reactor reactor, dialler;  // the dialler ends first: what it drops last may have timers on the other
};

TEST_F(Reconnects, ConnectsByItselfAndAnswers) {
  auto link = Link::make(how, {}, reactor);
  EXPECT_EQ(echo(*link, "hello"), "hello");
  EXPECT_EQ(link->reconnects(), 0u);
}

TEST_F(Reconnects, ALostTransportCostsNothingButTime) {
  how.longest_pause = 20ms;  // they are cut so soon that each counts as a failure
  auto link = Link::make(how, {}, reactor);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(echo(*link, std::to_string(i)), std::to_string(i));
    agent->cut();
  }
  EXPECT_EQ(agent->opens(), 20);
  EXPECT_GE(link->reconnects(), 19u);
}

TEST_F(Reconnects, BytesArriveOnceAndInOrderThroughCuts) {
  how.longest_pause = 20ms;
  auto link = Link::make(how, {}, reactor);
  Collector call;
  link->with([&](session::Session& session) { call.open(session, Method::fs_read, "20000000"); });
  std::jthread cutting([&](std::stop_token stop) {
    // By progress, not by time: a slow machine must get somewhere between two cuts.
    for (std::uint64_t next = 1'000'000; !stop.stop_requested();) {
      std::uint64_t now = 0;
      link->with([&](session::Session&) { now = call.bytes; });
      if (now < next) {
        std::this_thread::sleep_for(1ms);
        continue;
      }
      agent->cut();
      next = now + 1'000'000;
    }
  });
  auto done = link->wait_until([&] { return call.finished; }, after(60s));
  cutting.request_stop();
  cutting.join();
  ASSERT_TRUE(done && *done);
  ASSERT_TRUE(call.end);
  EXPECT_EQ(call.bytes, 20000000u);
  EXPECT_TRUE(call.in_order);
}

TEST_F(Reconnects, TriesAgainWhileItMay) {
  refuse(Error(ErrorCode::unavailable, "not yet"));
  auto link = Link::make(how, {}, reactor);
  auto waiting = std::async(std::launch::async, [&] { return echo(*link, "late"); });
  while (dials < 4) std::this_thread::sleep_for(1ms);
  refuse(std::nullopt);
  EXPECT_EQ(waiting.get(), "late");
}

TEST_F(Reconnects, EndsWhenTheTimeIsOver) {
  how.window = 100ms;
  how.dial_timeout = 100ms;
  refuse(Error(ErrorCode::unavailable, "never"));
  auto link = Link::make(how, {}, reactor);
  EXPECT_EQ(echo(*link, "x").find("unavailable") != std::string::npos, true);
  EXPECT_TRUE(link->failed());
}

TEST_F(Reconnects, EndsAtOnceWhenNothingCanHelp) {
  refuse(Error(ErrorCode::unauthenticated, "somebody else"));
  auto link = Link::make(how, {}, reactor);
  EXPECT_NE(echo(*link, "x").find("unauthenticated"), std::string::npos);
  EXPECT_EQ(dials, 1);
}

TEST_F(Reconnects, WhatStandsStillIsWaitedForHoweverLong) {
  how.window = how.dial_timeout = 50ms;
  how.longest_pause = 10ms;
  refuse(Error(ErrorCode::failed_precondition, "paused"));
  auto link = Link::make(how, {}, reactor);
  auto waiting = std::async(std::launch::async, [&] { return echo(*link, "late"); });
  const auto begin = core::SteadyClock::now();
  while (core::SteadyClock::now() - begin < how.window * 4 || dials < 10) std::this_thread::sleep_for(1ms);
  refuse(std::nullopt);
  EXPECT_EQ(waiting.get(), "late");
}

TEST_F(Reconnects, HurryEndsThePauseBetweenTwoTries) {
  how.first_pause = how.longest_pause = 1h;
  refuse(Error(ErrorCode::failed_precondition, "paused"));
  auto link = Link::make(how, {}, reactor);
  auto waiting = std::async(std::launch::async, [&] { return echo(*link, "soon"); });
  while (dials < 1) std::this_thread::sleep_for(1ms);
  refuse(std::nullopt);
  // Again and again: the first dial may still be under way, and its refusal begins another pause.
  while (waiting.wait_for(1ms) != std::future_status::ready) link->hurry();
  EXPECT_EQ(waiting.get(), "soon");
}

TEST_F(Reconnects, AnAgentThatForgotIsANewSessionAndTheOldCallsAreLost) {
  auto link = Link::make(how, {}, reactor);
  Collector silent;
  link->with([&](session::Session& session) { silent.open(session, Method::exec, {}); });
  ASSERT_EQ(echo(*link, "before"), "before");
  {
    // Nobody may dial the one that is going.
    std::lock_guard lock(mutex);
    agent->cut();
    agent = std::make_unique<Agent>("fedcba9876543210");
  }
  auto done = link->wait_until([&] { return silent.finished; }, after(20s));
  ASSERT_TRUE(done && *done);
  ASSERT_TRUE(silent.lost);
  EXPECT_EQ(silent.lost->code(), ErrorCode::unavailable);
  EXPECT_EQ(silent.lost->retry(), Retry::now);
  EXPECT_EQ(echo(*link, "after"), "after");
  EXPECT_EQ(link->renewals(), 1u);
}

TEST_F(Reconnects, AnIdleLinkNoticesALossByItself) {
  session::Options options;
  options.heartbeat = 20ms;
  auto link = Link::make(how, options, reactor);
  ASSERT_EQ(echo(*link, "x"), "x");
  agent->cut();
  for (int i = 0; i < 2000 && link->reconnects() == 0; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_GE(link->reconnects(), 1u);
}

TEST_F(Reconnects, APingThatWasLostIsSentAgain) {
  auto link = Link::make(how, {}, reactor);
  ASSERT_TRUE(link->ping(after(20s)));
  agent->cut();
  EXPECT_TRUE(link->ping(after(20s)));
}

TEST_F(Reconnects, ClosingWhileItIsConnectingEndsEveryWait) {
  refuse(Error(ErrorCode::unavailable, "not yet"));
  auto link = Link::make(how, {}, reactor);
  auto waiting = std::async(std::launch::async, [&] { return echo(*link, "x"); });
  std::this_thread::sleep_for(20ms);
  link->close(Error(ErrorCode::cancelled, "closed"));
  EXPECT_NE(waiting.get().find("cancelled"), std::string::npos);
}

}  // namespace
}  // namespace sandbox::link::test
