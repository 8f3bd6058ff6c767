#include "agent/loop.hpp"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <vector>

#include "core/unique_fd.hpp"

namespace sandbox::agent {
namespace {

using namespace std::chrono_literals;

struct Pipe {
  Pipe() {
    int fds[2];
    if (::pipe(fds) != 0) std::abort();
    read.reset(fds[0]);
    write.reset(fds[1]);
  }
  core::UniqueFd read, write;
};

TEST(AgentLoop, CallsWatchersOfReadyDescriptorsOnly) {
  Loop loop;
  Pipe a, b;
  int calls = 0;
  loop.watch(a.read.get(), EPOLLIN, [&](std::uint32_t) { ++calls; }).value();
  loop.watch(b.read.get(), EPOLLIN, [&](std::uint32_t) { ADD_FAILURE(); }).value();
  ASSERT_EQ(::write(a.write.get(), "x", 1), 1);
  loop.turn(1s);
  EXPECT_EQ(calls, 1);
  loop.turn(1s);   // level-triggered
  EXPECT_EQ(calls, 2);
  loop.pause(a.read.get());
  loop.turn(1ms);
  EXPECT_EQ(calls, 2);
  loop.rewatch(a.read.get(), EPOLLIN);
  loop.turn(1s);
  EXPECT_EQ(calls, 3);
}

TEST(AgentLoop, AWatcherMayRemoveItselfAndOthersThatAreReadyToo) {
  Loop loop;
  Pipe a, b;
  int calls = 0;
  const auto remove_both = [&](std::uint32_t) {
    ++calls;
    loop.unwatch(a.read.get());
    loop.unwatch(b.read.get());
  };
  loop.watch(a.read.get(), EPOLLIN, remove_both).value();
  loop.watch(b.read.get(), EPOLLIN, remove_both).value();
  ASSERT_EQ(::write(a.write.get(), "x", 1), 1);
  ASSERT_EQ(::write(b.write.get(), "x", 1), 1);
  loop.turn(1s);
  loop.turn(1ms);
  EXPECT_EQ(calls, 1);
}

TEST(AgentLoop, AnEventOfAClosedDescriptorDoesNotReachTheNextOwnerOfItsNumber) {
  Loop loop;
  Pipe a, b;
  bool wrong = false;
  int reused = -1;
  // Both are ready. The first watcher called closes the other's descriptor and gives its number to a quiet pipe.
  const auto swap = [&](Pipe& other) {
    if (reused >= 0) return;
    reused = other.read.get();
    loop.unwatch(reused);
    other.read.reset();
    Pipe quiet;
    ASSERT_GE(::dup2(quiet.read.get(), reused), 0);
    other.read.reset(reused);
    loop.watch(reused, EPOLLOUT, [&](std::uint32_t events) { wrong = wrong || (events & EPOLLIN); }).value();
  };
  loop.watch(a.read.get(), EPOLLIN, [&](std::uint32_t) { swap(b); }).value();
  loop.watch(b.read.get(), EPOLLIN, [&](std::uint32_t) { swap(a); }).value();
  ASSERT_EQ(::write(a.write.get(), "x", 1), 1);
  ASSERT_EQ(::write(b.write.get(), "x", 1), 1);
  loop.turn(1s);
  EXPECT_GE(reused, 0);
  EXPECT_FALSE(wrong);
}

TEST(AgentLoop, FiresTimersInOrderAndNotWhenCancelled) {
  Loop loop;
  std::vector<int> fired;
  const auto now = core::SteadyClock::now();
  loop.at(now + 20ms, [&] { fired.push_back(2); });
  loop.at(now + 10ms, [&] { fired.push_back(1); });
  const auto cancelled = loop.at(now + 15ms, [&] { fired.push_back(3); });
  loop.cancel_timer(cancelled);
  while (fired.size() < 2 && core::SteadyClock::now() < now + 5s) loop.turn(1s);
  EXPECT_EQ(fired, (std::vector<int>{1, 2}));
  EXPECT_GE(core::SteadyClock::now(), now + 20ms);
}

TEST(AgentLoop, SlicesTakeTurnsWithDescriptors) {
  Loop loop;
  Pipe a;
  ASSERT_EQ(::write(a.write.get(), "x", 1), 1);
  int slices = 0, reads = 0;
  std::function<void()> again = [&] {
    ++slices;
    loop.defer(again);
  };
  loop.defer(again);
  loop.watch(a.read.get(), EPOLLIN, [&](std::uint32_t) { ++reads; }).value();
  for (int i = 0; i < 5; ++i) loop.turn(1s);
  EXPECT_EQ(slices, 5);
  EXPECT_EQ(reads, 5);
}

TEST(AgentLoop, CancelledSlicesDoNotRun) {
  Loop loop;
  bool ran = false;
  const auto id = loop.defer([&] { ran = true; });
  loop.cancel_slice(id);
  loop.turn(1ms);
  EXPECT_FALSE(ran);
}

TEST(AgentLoop, RunsHooksNewestFirstBeforeItSleeps) {
  Loop loop;
  std::vector<int> order;
  const auto first = loop.before_sleep([&] { order.push_back(1); });
  loop.before_sleep([&] {
    order.push_back(2);
    loop.remove_hook(first);
  });
  loop.turn(1ms);
  EXPECT_EQ(order, (std::vector<int>{2}));
}

TEST(AgentLoop, WhoeverExpectsSomethingSoonHearsItAndTheTimersAllTheSame) {
  Loop loop;
  Pipe pipe;
  int calls = 0;
  loop.watch(pipe.read.get(), EPOLLIN, [&](std::uint32_t) {
    char byte;
    calls += static_cast<int>(::read(pipe.read.get(), &byte, 1));
  }).value();
  // Enough of them that some are looked for, some slept for, and some miss.
  for (int i = 0; i < 100; ++i) {
    loop.expect_soon();
    if (i % 3 != 0) ASSERT_EQ(::write(pipe.write.get(), "x", 1), 1);
    loop.turn(2ms);
  }
  EXPECT_EQ(calls, 66);
  bool fired = false;
  const auto when = core::SteadyClock::now() + 3ms;
  loop.at(when, [&] { fired = true; });
  while (!fired) {
    loop.expect_soon();
    loop.turn(10s);
  }
  EXPECT_GE(core::SteadyClock::now(), when);
}

}  // namespace
}  // namespace sandbox::agent
