#include <algorithm>
#include <future>
#include <thread>

#include "core/sync_point.hpp"
#include "runtime/spec_record.hpp"
#include "support/eventually.hpp"
#include "unit/runtime/fixture.hpp"

namespace sandbox::runtime {
namespace {

using testing::RuntimeTest;
using namespace std::chrono_literals;
using Kind = RuntimeEvent::Kind;

class RuntimePool : public RuntimeTest {};

TEST_F(RuntimePool, FillsAndHandsOut) {
  open(options().warm(3));
  ASSERT_TRUE(state_->wait_warm(soon()));
  ASSERT_EQ(state_->pools().size(), 1u);
  EXPECT_EQ(state_->pools()[0].ready, 3u);
  EXPECT_EQ(state_->live(), 0u);
  auto box = state_->create();
  ASSERT_TRUE(box);
  EXPECT_TRUE((*box)->usable());
  EXPECT_EQ((*box)->id().size(), 12u);
  EXPECT_TRUE((*box)->id().starts_with("sbx-"));
  EXPECT_EQ(state_->live(), 1u);
  EXPECT_EQ(state_->pools()[0].hits, 1u);
  EXPECT_EQ(state_->pools()[0].misses, 0u);
  ASSERT_TRUE(state_->wait_warm(soon())) << "refilled in the background";
  EXPECT_TRUE((*box)->close());
  EXPECT_EQ(state_->live(), 0u);
  EXPECT_TRUE(wait_for(Kind::created));
  EXPECT_TRUE(wait_for(Kind::destroyed));
  EXPECT_EQ(last(Kind::destroyed).sandbox_id, (*box)->id());
}

TEST_F(RuntimePool, AMemberIsHandedOutOnce) {
  open(options().warm(8));
  ASSERT_TRUE(state_->wait_warm(soon()));
  std::vector<std::future<std::vector<std::string>>> callers;
  for (int i = 0; i < 8; ++i)
    callers.push_back(std::async(std::launch::async, [&] {
      std::vector<std::string> ids;
      for (int round = 0; round < 20; ++round) {
        auto box = state_->create();
        if (!box) {
          ADD_FAILURE() << box.error().to_string();
          break;
        }
        ids.push_back((*box)->id());
        EXPECT_TRUE((*box)->close());
      }
      return ids;
    }));
  std::vector<std::string> all;
  for (auto& caller : callers) {
    auto ids = caller.get();
    all.insert(all.end(), ids.begin(), ids.end());
  }
  EXPECT_EQ(all.size(), 160u);
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end()) << "a lease is never reused";
  EXPECT_EQ(state_->live(), 0u);
}

TEST_F(RuntimePool, AnotherSpecOrUserGetsItsOwn) {
  open(options().warm(2, SandboxSpec().user("alice")));
  ASSERT_TRUE(state_->wait_warm(soon()));
  const auto bob = create(SandboxSpec().user("bob"));
  const auto nobody = create();
  for (const PoolStats& pool : state_->pools()) EXPECT_EQ(pool.hits, 0u) << pool.profile;
  const auto alice = create(SandboxSpec().user("alice"));
  EXPECT_EQ(alice->spec().user(), "alice");
  EXPECT_EQ(state_->pools().size(), 3u);
  EXPECT_EQ(script_->prepared, 3);
}

TEST_F(RuntimePool, ColdMakesAFreshOne) {
  open(options().warm(1));
  ASSERT_TRUE(state_->wait_warm(soon()));
  const int before = script_->created;
  const auto box = create(SandboxSpec(), CreateOptions().cold());
  EXPECT_EQ(script_->created, before + 1);
  EXPECT_EQ(state_->pools()[0].ready, 1u);
  EXPECT_EQ(state_->pools()[0].misses, 0u);
}

TEST_F(RuntimePool, ADeadMemberIsReplacedAndNotHandedOut) {
  open(options().warm(2));
  ASSERT_TRUE(state_->wait_warm(soon()));
  script_->kill_one();
  ASSERT_TRUE(wait_for(Kind::pool_member_replaced));
  ASSERT_TRUE(state_->wait_warm(soon()));
  EXPECT_EQ(state_->pools()[0].replaced, 1u);
  EXPECT_EQ(script_->alive(), 2);
  EXPECT_TRUE(create()->usable());
}

TEST_F(RuntimePool, FailuresAreReportedAndRecoveredFrom) {
  script_->fail_next = 2;
  script_->failure = ErrorCode::resource_exhausted;
  open(options().warm(2));
  ASSERT_TRUE(state_->wait_warm(soon()));
  EXPECT_GE(state_->pools()[0].failures, 1u);
  EXPECT_TRUE(wait_for(Kind::pool_refill_failed));
}

TEST_F(RuntimePool, WaitWarmSaysWhatCannotGetBetter) {
  script_->fail_next = 1000;
  script_->failure = ErrorCode::failed_precondition;
  open(options().warm(1));
  auto warm = state_->wait_warm(soon());
  ASSERT_FALSE(warm);
  EXPECT_EQ(warm.error().code(), ErrorCode::failed_precondition);
  auto box = state_->create();
  ASSERT_FALSE(box);
  EXPECT_EQ(box.error().code(), ErrorCode::failed_precondition);
}

TEST_F(RuntimePool, UnverifiedSandboxesAreDestroyed) {
  script_->verify_fails = true;
  open(options());
  auto box = state_->create();
  ASSERT_FALSE(box);
  EXPECT_EQ(box.error().code(), ErrorCode::failed_precondition);
  EXPECT_EQ(script_->created, script_->destroyed);
  EXPECT_EQ(state_->live(), 0u);
}

TEST_F(RuntimePool, AMuteAgentIsNotWaitedForBeyondTheDeadline) {
  script_->mute = true;
  open(options());
  auto box = state_->create(SandboxSpec(), CreateOptions().deadline(100ms));
  ASSERT_FALSE(box);
  EXPECT_EQ(box.error().code(), ErrorCode::deadline_exceeded);
  EXPECT_EQ(script_->alive(), 0);
}

TEST_F(RuntimePool, ALauncherThatDiedIsTriedAgain) {
  script_->fail_next = 2;
  script_->failure = ErrorCode::unavailable;
  script_->stale = true;  // until it is prepared again
  open(options());
  EXPECT_TRUE(create()->usable());
  EXPECT_GE(script_->prepared, 2);
  EXPECT_TRUE(wait_for(Kind::launcher_restarted));
}

TEST_F(RuntimePool, TenfoldOverloadQueuesAndNothingFails) {
  script_->create_ms = 5;
  open(options().max_sandboxes(4));
  std::vector<std::future<bool>> callers;
  for (int i = 0; i < 40; ++i)
    callers.push_back(std::async(std::launch::async, [&] {
      auto box = state_->create();
      if (!box) {
        ADD_FAILURE() << box.error().to_string();
        return false;
      }
      std::this_thread::sleep_for(2ms);
      return (*box)->close().has_value();
    }));
  for (auto& caller : callers) EXPECT_TRUE(caller.get());
  EXPECT_LE(script_->most_alive, 4);
  EXPECT_EQ(script_->alive(), 0);
}

TEST_F(RuntimePool, WaitingForAPlaceEndsAtTheDeadline) {
  open(options().max_sandboxes(1));
  const auto box = create();
  const auto start = core::SteadyClock::now();
  auto second = state_->create(SandboxSpec(), CreateOptions().deadline(50ms));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::resource_exhausted);
  EXPECT_GE(core::SteadyClock::now() - start, 50ms);
  EXPECT_TRUE(box->close());
  EXPECT_TRUE(create()->usable());
}

TEST_F(RuntimePool, IdleMembersMakeRoomForCallers) {
  open(options().max_sandboxes(2).warm(2));
  ASSERT_TRUE(state_->wait_warm(soon()));
  const auto other = create(SandboxSpec().user("bob"), CreateOptions().deadline(5s));
  ASSERT_NE(other, nullptr);
  EXPECT_LE(script_->most_alive, 2);
}

TEST_F(RuntimePool, CreationsAtATimeAreBounded) {
  script_->create_ms = 5;
  open(options().max_sandboxes(1000));
  std::vector<std::future<void>> callers;
  for (int i = 0; i < 40; ++i) callers.push_back(std::async(std::launch::async, [&] { create(); }));
  for (auto& caller : callers) caller.get();
  EXPECT_LE(script_->most_making, static_cast<int>(std::max(4u, 2 * std::thread::hardware_concurrency())));
}

TEST_F(RuntimePool, SettingTheWarmCountGrowsAndShrinks) {
  open(options());
  ASSERT_TRUE(state_->set_warm(SandboxSpec(), 3));
  ASSERT_TRUE(state_->wait_warm(soon()));
  EXPECT_EQ(script_->alive(), 3);
  ASSERT_TRUE(state_->set_warm(SandboxSpec(), 0));
  for (const auto end = soon(); script_->alive() > 0 && core::SteadyClock::now() < end;) std::this_thread::yield();
  EXPECT_EQ(script_->alive(), 0);
}

TEST_F(RuntimePool, AsyncCreateCompletesOnTheReactorFromPoolAndCold) {
  open(options().warm(1));
  ASSERT_TRUE(state_->wait_warm(soon()));
  for (int i = 0; i < 3; ++i) {
    std::promise<bool> done;
    state_->async_create(SandboxSpec(), CreateOptions(), [&](Result<std::shared_ptr<driver::Box>> box) {
      done.set_value(box && (*box)->usable() && state_->reactor().on_this_thread());
    });
    EXPECT_TRUE(done.get_future().get());
  }
}

TEST_F(RuntimePool, AWaitingAsyncCreateCanBeCancelled) {
  open(options().max_sandboxes(1));
  const auto box = create();
  std::promise<ErrorCode> done;
  auto cancel = state_->async_create(SandboxSpec(), CreateOptions(), [&](Result<std::shared_ptr<driver::Box>> result) {
    done.set_value(result ? ErrorCode::internal : result.error().code());
  });
  cancel();
  EXPECT_EQ(done.get_future().get(), ErrorCode::cancelled);
}

TEST_F(RuntimePool, CloseEndsWaitersAndIsQuick) {
  open(options().max_sandboxes(21).warm(20));
  ASSERT_TRUE(state_->wait_warm(soon()));
  const auto a = create();
  // The pool holds the rest; a cold create of somebody else takes a member's place, the next waits.
  std::vector<std::shared_ptr<driver::Box>> held{a};
  for (int i = 0; i < 20; ++i) held.push_back(create(SandboxSpec().user("bob")));
  auto waiting = std::async(std::launch::async, [&] { return state_->create(SandboxSpec().user("carol"), CreateOptions().deadline(20s)); });
  const auto start = core::SteadyClock::now();
  EXPECT_TRUE(state_->close());
  EXPECT_LT(core::SteadyClock::now() - start, 2s);
  auto result = waiting.get();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::unavailable);
  EXPECT_TRUE(held[0]->closed());
  EXPECT_EQ(held[0]->usable().error().code(), ErrorCode::failed_precondition);
  EXPECT_TRUE(state_->close()) << "idempotent";
  auto late = state_->create();
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), ErrorCode::unavailable);
}

TEST_F(RuntimePool, CloseWaitsForASandboxWhoseLastHandleIsJustDropped) {
  std::promise<void> ending, go_on;
  std::atomic<bool> first{true}, backend_closed{false};
  script_->before_destroy = [&] {
    if (!first.exchange(false)) return;
    ending.set_value();
    go_on.get_future().wait();
    backend_closed = script_->closed.load();
  };
  open(options());
  auto dropper = std::async(std::launch::async, [box = create()]() mutable { box.reset(); });
  ending.get_future().wait();
  auto closing = std::async(std::launch::async, [&] { return state_->close(); });
  EXPECT_EQ(closing.wait_for(100ms), std::future_status::timeout);
  go_on.set_value();
  EXPECT_TRUE(closing.get());
  dropper.get();
  EXPECT_FALSE(backend_closed) << "the backend was closed under a sandbox that was being destroyed";
}

TEST_F(RuntimePool, AnUnknownBackendOrImageIsNamed) {
  open(options());
  auto box = state_->create(SandboxSpec().backend("vm"), CreateOptions());
  ASSERT_FALSE(box);
  EXPECT_EQ(box.error().code(), ErrorCode::unsupported);
  auto image = state_->create(SandboxSpec().image(Image::directory("/no/such/rootfs")), CreateOptions());
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code(), ErrorCode::not_found);
  EXPECT_NE(image.error().message().find("/no/such/rootfs"), std::string::npos);
}

#if !defined(NDEBUG)
TEST_F(RuntimePool, AMemberThatEndsWhileItIsMadeIsNotHandedOut) {
  core::SyncScript sync;
  open(options().warm(1));
  ASSERT_TRUE(state_->wait_warm(soon()));
  std::atomic<bool> killed{false};
  // The member dies between a caller's decision for it and the hand-out: it is handed out and reported lost.
  sync.on("pool.before_handout", [&] {
    if (!killed.exchange(true)) script_->kill_one();
  });
  auto box = state_->create();
  ASSERT_TRUE(box);
  ASSERT_TRUE(wait_for(Kind::lost));
  EXPECT_EQ((*box)->usable().error().code(), ErrorCode::unavailable);
}
#endif

/// What outlives its maker is what was committed: nobody gets one that was not.
class RuntimeCommit : public RuntimeTest {
 protected:
  Result<std::shared_ptr<driver::Box>> create(CreateOptions how, std::string note) {
    std::promise<Result<std::shared_ptr<driver::Box>>> made;
    state_->async_create(SandboxSpec(), how, [&](Result<std::shared_ptr<driver::Box>> box) { made.set_value(std::move(box)); }, std::move(note));
    return made.get_future().get();
  }
  std::vector<BoxRecord> committed() {
    std::vector<BoxRecord> records;
    std::lock_guard lock(script_->mutex);
    for (const std::string& record : script_->committed) records.push_back(decode_record(record).value());
    return records;
  }
};

TEST_F(RuntimeCommit, TheNoteIsToldBeforeTheCallerHearsOfTheSandbox) {
  open(options().persistent().warm(1));
  ASSERT_TRUE(state_->wait_warm(soon()));
  for (const bool cold : {false, true}) {
    const auto box = create(cold ? CreateOptions().cold() : CreateOptions(), cold ? "cold one" : "warm one");
    ASSERT_TRUE(box);
    const auto records = committed();
    ASSERT_EQ(records.size(), cold ? 2u : 1u);
    EXPECT_EQ(records.back().id, (*box)->id());
    EXPECT_EQ(records.back().note, cold ? "cold one" : "warm one");
    EXPECT_TRUE((*box)->close());
  }
}

TEST_F(RuntimeCommit, OneThatCannotBeKeptIsNotHandedOut) {
  script_->failure = ErrorCode::unavailable;
  open(options().persistent().warm(1));
  ASSERT_TRUE(state_->wait_warm(soon()));
  script_->fail_commits = 1;
  const auto box = create(CreateOptions(), "mine");  // not the ready one: that cannot be kept
  ASSERT_TRUE(box) << box.error().to_string();
  EXPECT_EQ(committed().back().id, (*box)->id());
  script_->fail_commits = 1;
  const auto none = create(CreateOptions().cold(), "mine");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), ErrorCode::unavailable);
  EXPECT_TRUE((*box)->close());
  EXPECT_TRUE(sandbox::testing::eventually([&] { return state_->live() == 0; })) << state_->live();
  // Nothing lives but what is ready: the member that could not be kept has gone, too.
  EXPECT_TRUE(sandbox::testing::eventually([&] { return script_->alive() == static_cast<int>(state_->pools()[0].ready); })) << script_->alive();
}

}  // namespace
}  // namespace sandbox::runtime
