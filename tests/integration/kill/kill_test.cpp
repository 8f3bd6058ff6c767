// kill -9 of everybody involved, at every sync point: afterwards nothing is left on the host, nobody was lied to, and the
// next runtime or daemon works. The points come from the programs' own notes, so a new one is covered by being there.
//
// The whole matrix: SANDBOX_KILL_MATRIX=full, or ctest -C full -R integration.kill.full; SANDBOX_KILL_MATRIX=3/8 takes the third
// of eight parts of the points. Without it each scenario takes another part, every eleventh kill. SANDBOX_KILL_POINT=call.opened
// looks at one point only, with everybody.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include <sandbox/sandbox.hpp>

#include "kill_case.hpp"
#include "support/eventually.hpp"
#include "support/ledger.hpp"
#include "support/live_runtime.hpp"
#include "support/share.hpp"
#include "support/sync_points.hpp"
#include "support/tracer.hpp"

namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// Launchers of what was killed become our children, so that the ledger still sees them and their ends are ours to reap.
class Kill : public ::testing::Test {
 public:
  static void SetUpTestSuite() { ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0); }
  static void TearDownTestSuite() {
    const std::string only = setting("SANDBOX_KILL_POINT");
    if (!only.empty()) EXPECT_TRUE(scenarios_ == 0 || points_[only]) << "no story comes to " << only;
    if (scenarios_ < 4 || setting("SANDBOX_KILL_MATRIX") != "full" || !only.empty()) return;
    points_.erase("image.layers_taken");  // who removes a template removes its layer; unit.image kills collections
    for (const auto& [point, reached] : points_) EXPECT_TRUE(reached) << "no story comes to " << point;
  }
  void SetUp() override {
    if (const std::string why = Tracer::unavailable(); !why.empty()) GTEST_SKIP() << why;
  }

  /// Runs the story of `mode` with the points of `programs` and every victim. Unless more is asked for, `sample` of the cases.
  void matrix(const std::string& mode, const std::vector<std::string>& programs, Share sample) {
    const std::string only = setting("SANDBOX_KILL_POINT");
    const auto share = read_share(setting("SANDBOX_KILL_MATRIX"));
    const bool all = !only.empty() || share;
    std::size_t points_seen = 0, cases_seen = 0;
    std::map<std::string, int> outcomes;
    for (const std::string& program : programs) {
      const auto points = sync_points(program);
      EXPECT_FALSE(points.empty()) << program;
      for (const auto& [point, addresses] : points) {
        if (!only.empty() && point != only) continue;
        if (share && !share->has(points_seen++)) continue;
        for (const Victim victim : {Victim::main, Victim::launcher, Victim::agent}) {
          if (!all && !sample.has(cases_seen++)) continue;
          const auto start = std::chrono::steady_clock::now();
          const KillOutcome outcome = run({mode, program, point, addresses, victim});
          const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
          ++outcomes[outcome.what];
          points_[point] |= outcome.what != "not reached";
          const std::string what = mode + ' ' + point + " x " + name(victim);
          std::cout << what << ": " << outcome.what << " (" << took.count() << " ms)" << std::endl;
          EXPECT_TRUE(outcome.problems.empty()) << what << ":\n" << outcome.problems;
          if (all && outcome.what == "not reached") break;  // whoever the victim would be
        }
      }
    }
    for (const auto& [what, count] : outcomes) std::cout << mode << ": " << count << " x " << what << '\n';
    if (only.empty()) EXPECT_GT(outcomes["killed"], 0) << "nothing was killed";  // not every story comes to every point
    ++scenarios_;
  }

 private:
  static inline std::map<std::string, bool> points_;  ///< whether any story came to it
  static inline int scenarios_ = 0;                   ///< that went through all of theirs
};

TEST_F(Kill, AnEmbeddersSandboxes) { matrix("embedded", {story_program(), helper("sandbox-launcher"), helper("sandbox-agent")}, {1, 11}); }
TEST_F(Kill, APersistentEmbeddersSandboxes) { matrix("persistent", {story_program(), helper("sandbox-launcher"), helper("sandbox-agent")}, {2, 11}); }
TEST_F(Kill, WhoeverTakesOver) { matrix("adopt", {story_program(), helper("sandbox-launcher"), helper("sandbox-agent")}, {3, 11}); }
TEST_F(Kill, ADaemonsSandboxes) { matrix("daemon", {helper("sandboxd"), helper("sandbox-launcher"), helper("sandbox-agent")}, {4, 11}); }

// Killed when its last word, that a sandbox is to outlive it, is written but not read: what the sandbox stands on is held by
// then, so that nobody removes it meanwhile.
TEST_F(Kill, NobodyPrunesWhatASandboxStandsOnThatIsAboutToBeKept) {
  const Ledger before = Ledger::take();
  const StateDirectory directory;
  const std::string state = directory.path() + "/s", output = directory.path() + "/story.out";
  const auto open = [&](bool persistent) {
    return Runtime::open(RuntimeOptions().state_directory(state).launchers(1).persistent(persistent));
  };
  std::string id;
  {
    auto runtime = open(false);
    ASSERT_TRUE(runtime) << runtime.error().to_string();
    auto box = runtime->create();
    ASSERT_TRUE(box) << box.error().to_string();
    EXPECT_OK(box->fs().write("/root/token", "kept"));
    auto saved = box->save_template("story");
    ASSERT_TRUE(saved) << saved.error().to_string();
    id = saved->id;
  }
  const auto points = sync_points(helper("sandbox-launcher")), points_of_story = sync_points(story_program());
  ASSERT_TRUE(points.contains("launcher.before_commit"));
  ASSERT_TRUE(points_of_story.contains("native.committed"));
  Tracer tracer({"kill-story", "sandbox-launcher", "sandbox-agent"});
  tracer.break_at("kill-story", points_of_story.at("native.committed"));
  tracer.break_at("sandbox-launcher", points.at("launcher.before_commit"));
  const auto next_breakpoint = [&] {
    auto stop = tracer.next(Tracer::Clock::now() + 40s);
    while (stop && stop->why == Tracer::Why::ended) stop = tracer.next(Tracer::Clock::now() + 40s);
    return stop;
  };
  const pid_t story = tracer.start({story_program(), "template", state, id}, output);
  const auto written = next_breakpoint();
  ASSERT_TRUE(written && written->why == Tracer::Why::breakpoint && written->process == story);
  ::kill(story, SIGKILL);
  const auto read = next_breakpoint();
  ASSERT_TRUE(read && read->why == Tracer::Why::breakpoint && read->process != story);
  // Nothing but a lock says any more that the layer is needed.
  for (const char* suffix : {".meta", ".tar.zst"}) ASSERT_TRUE(std::filesystem::remove(state + "/templates/" + id + suffix));
  {
    auto other = open(false);
    ASSERT_TRUE(other) << other.error().to_string();
    PruneOptions everything;
    everything.unused_for = 0s;
    const auto pruned = other->prune(everything);
    ASSERT_TRUE(pruned) << pruned.error().to_string();
    EXPECT_TRUE(pruned->empty());
    tracer.detach();

    auto next = open(true);
    ASSERT_TRUE(next) << next.error().to_string();
    auto adoption = next->adopted();
    ASSERT_EQ(adoption.sandboxes.size(), 1u);
    EXPECT_EQ(adoption.sandboxes[0].fs().read_text("/root/token").value_or("gone"), "kept");
    EXPECT_OK(adoption.sandboxes[0].close());
    const auto after = next->prune(everything);
    ASSERT_TRUE(after) << after.error().to_string();
    EXPECT_EQ(after->size(), 1u);
  }
  EXPECT_TRUE(eventually([&] {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return difference(before, Ledger::take()).empty();
  })) << difference(before, Ledger::take());
}

}  // namespace
}  // namespace sandbox::testing
