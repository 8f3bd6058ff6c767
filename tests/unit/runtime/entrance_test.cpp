#include "runtime/entrance.hpp"

#include <future>

#include "support/eventually.hpp"
#include "support/failure.hpp"
#include "unit/runtime/fixture.hpp"

namespace sandbox::runtime {
namespace {

using namespace std::chrono_literals;
using sandbox::testing::eventually;

/// Callers at an entrance of its own; the runtime lends them profiles and a sandbox to be given.
class EntranceTest : public testing::RuntimeTest {
 protected:
  using Outcome = Result<Entrance::BoxPtr>;

  void SetUp() override {
    RuntimeTest::SetUp();
    open(options());
    box_ = std::dynamic_pointer_cast<LocalBox>(create());
    ASSERT_NE(box_, nullptr);
    const auto other = std::dynamic_pointer_cast<LocalBox>(create(SandboxSpec().user("bob")));
    ASSERT_NE(other, nullptr);
    anns_ = box_->profile();
    bobs_ = other->profile();
  }

  /// Somebody who comes to `entrance`, on a thread of their own. Returns once they are in or wait.
  std::future<Outcome> come(Entrance& entrance, const Profile& profile, core::TimePoint deadline,
                            Entrance::Cancellation* cancellation = nullptr) {
    const auto before = callers(entrance);
    auto coming = std::async(std::launch::async, [&entrance, &profile, deadline, cancellation, this] {
      Entrance::Lock lock(mutex_);
      return entrance.enter(lock, profile, deadline, cancellation, [](Entrance::Lock&) {});
    });
    EXPECT_TRUE(eventually([&] { return callers(entrance) == before + 1; }));
    return coming;
  }
  std::uint32_t callers(Entrance& entrance) {
    std::lock_guard lock(mutex_);
    return entrance.callers();
  }
  bool waits(std::future<Outcome>& caller) { return caller.wait_for(0s) == std::future_status::timeout; }

  std::mutex mutex_;
  std::shared_ptr<LocalBox> box_;
  std::shared_ptr<Profile> anns_, bobs_;
};

TEST_F(EntranceTest, AMemberGoesToWhoHasWaitedForItsPoolLongest) {
  Entrance entrance(1, 1);
  auto maker = come(entrance, *anns_, soon());
  ASSERT_EQ(maker.get().value(), nullptr) << "a place is free: make one";
  auto bob = come(entrance, *bobs_, soon()), first = come(entrance, *anns_, soon()), second = come(entrance, *anns_, soon());
  {
    std::lock_guard lock(mutex_);
    EXPECT_TRUE(entrance.crowded());
    EXPECT_TRUE(entrance.give(*anns_, box_));
  }
  EXPECT_EQ(first.get().value(), box_);
  EXPECT_TRUE(waits(bob));
  EXPECT_TRUE(waits(second));
  {
    std::lock_guard lock(mutex_);
    EXPECT_TRUE(entrance.give(*anns_, box_));
    EXPECT_FALSE(entrance.give(*anns_, box_)) << "only bob is left";
    entrance.maker_done();
    entrance.place_free();
  }
  EXPECT_EQ(second.get().value(), box_);
  EXPECT_EQ(bob.get().value(), nullptr);
}

TEST_F(EntranceTest, WhoIsCalledOffLetsTheNextIn) {
  Entrance entrance(1, 1);
  come(entrance, *anns_, soon()).get().value();
  Entrance::Cancellation cancellation;
  auto off = come(entrance, *anns_, soon(), &cancellation), next = come(entrance, *bobs_, soon());
  {
    std::lock_guard lock(mutex_);
    entrance.cancel(cancellation);
    EXPECT_TRUE(cancellation.requested());
    EXPECT_FALSE(entrance.give(*anns_, box_)) << "nobody is there any more";
  }
  EXPECT_EQ(off.get().error().code(), ErrorCode::cancelled);
  EXPECT_TRUE(waits(next));
  std::lock_guard lock(mutex_);
  entrance.maker_done();
  entrance.place_free();
  EXPECT_FALSE(entrance.try_refill()) << "the place is the next one's already";
}

TEST_F(EntranceTest, WhatWasMissingIsSaidAtTheDeadline) {
  Entrance places(1, 2), makers(2, 1);
  for (Entrance* entrance : {&places, &makers}) come(*entrance, *anns_, soon()).get().value();
  Entrance::Lock lock(mutex_);
  const auto nothing = [](Entrance::Lock&) {};
  EXPECT_EQ(places.enter(lock, *anns_, core::SteadyClock::now() + 1ms, nullptr, nothing).error().code(), ErrorCode::resource_exhausted);
  EXPECT_EQ(makers.enter(lock, *anns_, core::SteadyClock::now() + 1ms, nullptr, nothing).error().code(), ErrorCode::deadline_exceeded);
  EXPECT_EQ(places.callers() + makers.callers(), 2u) << "who left does not count";
}

TEST_F(EntranceTest, RoomIsMadeOnceAndOnlyWhereAllPlacesAreTaken) {
  int made = 0;
  Entrance::Lock lock(mutex_);
  const auto enter = [&](Entrance& entrance) {
    return entrance.enter(lock, *anns_, core::SteadyClock::now() + 1ms, nullptr, [&](Entrance::Lock&) {
      ++made;
      entrance.place_free();
    });
  };
  Entrance makers(3, 1);
  EXPECT_TRUE(enter(makers).has_value());
  EXPECT_EQ(sandbox::testing::failure(enter(makers)), ErrorCode::deadline_exceeded) << "a place is no maker";
  EXPECT_EQ(made, 0);
  Entrance places(1, 3);
  EXPECT_TRUE(enter(places).has_value());
  EXPECT_TRUE(enter(places).has_value());
  EXPECT_EQ(made, 1);
}

TEST_F(EntranceTest, NobodyWaitsAtAClosedOne) {
  Entrance entrance(1, 1);
  come(entrance, *anns_, soon()).get().value();
  auto waiting = come(entrance, *anns_, core::TimePoint::max());
  Entrance::Lock lock(mutex_);
  entrance.close();
  EXPECT_EQ(entrance.enter(lock, *bobs_, core::TimePoint::max(), nullptr, [](Entrance::Lock&) {}).error().code(), ErrorCode::unavailable);
  lock.unlock();
  EXPECT_EQ(waiting.get().error().code(), ErrorCode::unavailable);
}

}  // namespace
}  // namespace sandbox::runtime
