// kill -9 of everybody involved, at every sync point: afterwards nothing is left on the host, nobody was lied to, and the
// next runtime or daemon works. The points come from the programs' own notes, so a new one is covered by being there.
//
// SANDBOX_KILL_MATRIX=full kills everybody at every point; otherwise each point kills the process that reaches it and one
// of the others in turn. SANDBOX_KILL_POINT=call.opened looks at one point only, with everybody.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <sstream>
#include <thread>

#include "kill_case.hpp"
#include "support/ledger.hpp"
#include "support/live_runtime.hpp"
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
  void SetUp() override {
    if (const std::string why = Tracer::unavailable(); !why.empty()) GTEST_SKIP() << why;
  }

  /// Runs `story` with every point of `programs` and every victim.
  void matrix(const std::string& mode, const std::vector<std::string>& programs) {
    int number = 0;
    const std::string only = setting("SANDBOX_KILL_POINT");
    const bool full = !only.empty() || setting("SANDBOX_KILL_MATRIX") == "full";
    std::map<std::string, int> outcomes;
    for (const std::string& program : programs) {
      const auto points = sync_points(program);
      EXPECT_FALSE(points.empty()) << program;
      for (const auto& [point, addresses] : points) {
        ++number;
        if (!only.empty() && point != only) continue;
        const bool here = point.starts_with("launcher.");
        const std::vector<Victim> victims = full ? std::vector<Victim>{Victim::main, Victim::launcher, Victim::agent}
                                            : here ? std::vector<Victim>{Victim::launcher, number % 2 ? Victim::main : Victim::agent}
                                            : point.starts_with("agent.") || point.starts_with("child.")
                                                ? std::vector<Victim>{Victim::agent, number % 2 ? Victim::main : Victim::launcher}
                                                : std::vector<Victim>{Victim::main, number % 2 ? Victim::launcher : Victim::agent};
        for (const Victim victim : victims) {
          const KillCase what{mode, program, point, addresses, victim};
          const auto start = std::chrono::steady_clock::now();
          const KillOutcome outcome = run(what);
          const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
          ++outcomes[outcome.what];
          std::cout << mode << ' ' << point << " x " << name(victim) << ": " << outcome.what << " (" << took.count() << " ms)" << std::endl;
          EXPECT_TRUE(outcome.problems.empty()) << mode << ' ' << point << " x " << name(victim) << ":\n" << outcome.problems;
          if (outcome.what == "not reached") break;  // by nobody's victims
        }
      }
    }
    for (const auto& [what, count] : outcomes) std::cout << mode << ": " << count << " x " << what << '\n';
    EXPECT_GT(outcomes["killed"], 0) << "nothing was killed";
  }
};

TEST_F(Kill, AnEmbeddersSandboxes) { matrix("embedded", {story_program(), helper("sandbox-launcher"), helper("sandbox-agent")}); }
TEST_F(Kill, APersistentEmbeddersSandboxes) { matrix("persistent", {story_program(), helper("sandbox-launcher"), helper("sandbox-agent")}); }
TEST_F(Kill, WhoeverTakesOver) { matrix("adopt", {story_program(), helper("sandbox-launcher"), helper("sandbox-agent")}); }

}  // namespace
}  // namespace sandbox::testing
