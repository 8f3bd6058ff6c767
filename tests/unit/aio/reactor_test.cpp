#include "aio/reactor.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

namespace sandbox::aio {
namespace {

TEST(Reactor, RunsWhatIsPostedOnItsOwnThread) {
  Reactor reactor;
  std::promise<bool> ran;
  reactor.post([&] { ran.set_value(reactor.on_this_thread()); });
  EXPECT_TRUE(ran.get_future().get());
  EXPECT_FALSE(reactor.on_this_thread());
}

TEST(Reactor, RunsWhatIsPostedAfterItsEndToo) {
  Reactor reactor;
  reactor.stop();
  std::promise<bool> ran;
  const auto caller = std::this_thread::get_id();
  reactor.post([&] { ran.set_value(reactor.on_this_thread() && std::this_thread::get_id() != caller); });
  EXPECT_TRUE(ran.get_future().get());
}

TEST(Reactor, ALateHandlerMayPostAnother) {
  Reactor reactor;
  reactor.stop();
  std::promise<void> ran;
  reactor.post([&] { reactor.post([&] { ran.set_value(); }); });
  ran.get_future().get();
}

TEST(Reactor, ItsDestructorWaitsForLateHandlers) {
  std::atomic<bool> done{false};
  std::promise<void> begun;
  {
    Reactor reactor;
    reactor.stop();
    reactor.post([&] {
      begun.set_value();
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      done = true;
    });
    begun.get_future().get();
  }
  EXPECT_TRUE(done);
}

/// Whether a post comes before, during or after the end: it is run, once.
TEST(Reactor, NothingPostedAroundTheEndIsLost) {
  for (int round = 0; round < 50; ++round) {
    Reactor reactor;
    std::atomic<int> ran{0};
    std::vector<std::thread> posters;
    for (int i = 0; i < 3; ++i) {
      posters.emplace_back([&] {
        for (int k = 0; k < 20; ++k) reactor.post([&] { ++ran; });
      });
    }
    reactor.stop();
    for (auto& thread : posters) thread.join();
    std::promise<void> last;
    reactor.post([&] { last.set_value(); });
    last.get_future().get();
    EXPECT_EQ(ran.load(), 60);
  }
}

}  // namespace
}  // namespace sandbox::aio
