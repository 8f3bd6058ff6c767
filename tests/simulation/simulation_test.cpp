// The simulation itself: it finds what it is there to find, and a seed says everything.
#include <gtest/gtest.h>

#include "simulation/world.hpp"

namespace sandbox::simulation {
namespace {

TEST(Simulation, ASeedReplaysExactly) {
  agent::Loop loop;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    const Outcome once = run({.seed = seed}, loop), again = run({.seed = seed}, loop);
    EXPECT_FALSE(once.failure) << *once.failure;
    EXPECT_EQ(once.fingerprint, again.fingerprint) << "seed " << seed;
    EXPECT_NE(once.fingerprint, run({.seed = seed + 1000}, loop).fingerprint);
  }
}

TEST(Simulation, SchedulesContainWhatTheyAreFor) {
  agent::Loop loop;
  Counters sum;
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    const Outcome outcome = run({.seed = seed}, loop);
    ASSERT_FALSE(outcome.failure) << "simulate --seed " << seed << " --trace: " << *outcome.failure;
    sum.add(outcome.counters);
  }
  SCOPED_TRACE(sum.to_string());
  for (const std::uint64_t count :
       {sum.ends, sum.losses, sum.messages, sum.resumes, sum.renewals, sum.replaced, sum.cuts, sum.holes, sum.silences,
        sum.agent_crashes, sum.client_crashes, sum.forgotten, sum.cancels, sum.detaches, sum.replays, sum.sealed,
        sum.compressed}) {
    EXPECT_GE(count, 5u);
  }
  EXPECT_GT(sum.ends, sum.losses);  // most of what begins is finished
}

class Found : public ::testing::TestWithParam<Mutation> {};

/// Of the schedules in which the fault was really put in, so many must fail, and fail again alike.
TEST_P(Found, AFaultThatIsPutInIsSeen) {
  agent::Loop loop;
  unsigned applied = 0, seen = 0;
  for (std::uint64_t seed = 1; seed <= 3000 && applied < 40; ++seed) {
    const Settings settings{.seed = seed, .mutation = GetParam()};
    const Outcome outcome = run(settings, loop);
    if (outcome.counters.applied == 0) {
      EXPECT_FALSE(outcome.failure) << "seed " << seed << ": " << *outcome.failure;
      continue;
    }
    ++applied;
    if (!outcome.failure) continue;
    ++seen;
    const Outcome again = run(settings, loop);
    EXPECT_TRUE(again.failure);
    // Sealed bytes are different each time, and late ones may be those of a session's id, which is random.
    if (!outcome.counters.sealed && GetParam() != Mutation::late_bytes) {
      EXPECT_EQ(again.failure, outcome.failure);
    }
  }
  ASSERT_GE(applied, 10u);
  RecordProperty("seen", static_cast<int>(seen));
  // Not all: what was changed may be lost with its transport before it does harm, or belong to a stream nobody looks
  // at.
  EXPECT_GE(seen * 2, applied) << seen << " of " << applied;
}

INSTANTIATE_TEST_SUITE_P(, Found,
                         ::testing::Values(Mutation::drop_byte, Mutation::flip_data, Mutation::repeat_frame,
                                           Mutation::drop_frame, Mutation::swap_frames, Mutation::repeat_after_resume,
                                           Mutation::skip_after_resume, Mutation::late_bytes, Mutation::invent_end,
                                           Mutation::withhold_credit, Mutation::run_twice, Mutation::never_end,
                                           Mutation::hoard),
                         [](const auto& each) { return std::string(name(each.param)); });

}  // namespace
}  // namespace sandbox::simulation
