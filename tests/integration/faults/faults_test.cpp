// Every system call of the launcher fails once: the caller is told which step and which errno, nothing is left behind, and
// the next creation works.
//
// The calls are not listed here. They are what the launcher, and the child that becomes a sandbox, do between two sync
// points of an undisturbed run, told apart by number, place in the program and depth of the stack: a loop is one step, and a
// new step is covered by being there. A call may also fail unnoticed where the launcher can do without it: then the sandbox
// must work and look from inside as it was planned (NativeInstance::verify). A launcher that ends because of a failure must
// be replaced.
//
// SANDBOX_FAULTS=full fails every call of a launcher's beginning and of a recipe, SANDBOX_FAULTS=3/8 the third of eight parts.
#include <gtest/gtest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <sstream>

#include "support/ledger.hpp"
#include "support/live_runtime.hpp"
#include "support/share.hpp"
#include "support/sync_points.hpp"
#include "support/tracer.hpp"

namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;

/// No call of the launcher fails with it by itself, and no code treats it in a special way.
constexpr int kFault = ENOTNAM;
constexpr auto kPatience = 25s;
constexpr int kDepths = 8;

std::string program(const std::string& name) {
  const char* directory = std::getenv("SANDBOX_BIN_DIR");
  return (directory ? std::string(directory) : std::string(".")) + "/" + name;
}
std::string steps_program() { return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "fault-steps"; }

/// What happens between two sync points of the launcher, and what a child does from its first to its last step.
struct Phase {
  const char* name;
  const char* from;
  const char* to;
  const char* reached_by;   ///< command of fault-steps
  bool child;
  Share sample = {};        ///< of the calls, unless more is asked for: a recipe takes seconds under a debugger
};

class Faults : public ::testing::Test {
 public:
  static void SetUpTestSuite() { ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0); }
  void SetUp() override {
    if (const std::string why = Tracer::unavailable(); !why.empty()) GTEST_SKIP() << why;
    points_ = sync_points(program("sandbox-launcher"));
    before_ = Ledger::take();
    state_ = std::make_unique<StateDirectory>();
    output_ = state_->path() + "/said";
  }
  void TearDown() override {
    if (!state_) return;
    if (input_ >= 0) ::close(std::exchange(input_, -1));
    tracer_.reset();
    const auto end = std::chrono::steady_clock::now() + 15s;
    std::string left;
    do {
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      Ledger now = Ledger::take();
      now.links = before_.links;  // sandboxes here have no network: whatever changes there is somebody else's
      left = difference(before_, now);
    } while (!left.empty() && std::chrono::steady_clock::now() < end);
    EXPECT_EQ(left, "");
  }

  void start(const Phase& phase) {
    phase_ = &phase;
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    tracer_ = std::make_unique<Tracer>(std::set<std::string>{"fault-steps", "sandbox-launcher"});
    for (const char* point : {phase.from, phase.to}) ASSERT_TRUE(points_.contains(point)) << point;
    auto all = points_.at(phase.from);
    all.insert(all.end(), points_.at(phase.to).begin(), points_.at(phase.to).end());
    tracer_->break_at("sandbox-launcher", all);
    main_ = tracer_->start({steps_program(), state_->path() + "/s"}, output_, ends[0]);
    ::close(ends[0]);
    input_ = ends[1];
  }

  /// One command, with the first call at `site` failing (empty: none). The answer, without the newline.
  std::string tell(const std::string& command, const std::string& site = {}) {
    failed_ = false;
    const std::string line = command + "\n";
    if (::write(input_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) return "the embedder is gone";
    for (const auto end = Tracer::Clock::now() + kPatience; Tracer::Clock::now() < end;) {
      const auto stop = tracer_->next(std::min(end, Tracer::Clock::now() + 5ms));
      if (!stop) {
        if (const std::string answer = answered(); !answer.empty()) return answer;
        continue;
      }
      if (stop->why == Tracer::Why::ended && stop->process == main_) return "the embedder ended with " + std::to_string(stop->status);
      if (stop->why == Tracer::Why::breakpoint) {
        const auto& from = points_.at(phase_->from);
        const bool begins = std::find(from.begin(), from.end(), stop->address) != from.end();
        inside_ = begins;
        if (phase_->child) tracer_->stop_at_system_calls(begins ? std::set<std::string>{"sandbox-launcher+"} : std::set<std::string>{});
        else tracer_->stop_at_system_calls(begins ? std::set<std::string>{"sandbox-launcher"} : std::set<std::string>{});
      }
      // Asking who one is cannot fail, nor can asking for a descriptor's flags, and musl's fdopendir(3) does not look.
      const bool cannot_fail = stop->call == SYS_getpid || (stop->call == SYS_fcntl && stop->arguments[1] == F_GETFL);
      if (stop->why == Tracer::Why::call && inside_ && !cannot_fail) {
        // A recursion (host directories are copied) has a new depth for each level: some of them stand for all.
        if (known_.insert(stop->site).second && ++depths_[stop->site.substr(0, stop->site.find(','))] <= kDepths)
          sites_.push_back(stop->site);
        if (!failed_ && stop->site == site) {
          failed_ = true;
          tracer_->fail_call(*stop, kFault);
        }
      }
      tracer_->resume(*stop);
    }
    return "no answer in time";
  }

  /// The launcher's processes besides itself, and how many descriptors it holds: what a failure must not change.
  std::string holdings() {
    for (const auto& [pid, name] : descendants(main_)) {
      if (!name.starts_with("sandbox-launch") || !std::filesystem::exists("/proc/" + std::to_string(pid) + "/fd")) continue;
      std::error_code error;
      std::map<std::string, int> kinds;
      for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error)) {
        std::string target = std::filesystem::read_symlink(entry.path(), error).string();
        if (const auto at = target.find_first_of(":0123456789"); at != target.npos) target.resize(at);
        ++kinds[target];
      }
      std::string text = std::to_string(descendants(pid).size()) + " children";
      for (const auto& [kind, count] : kinds) text += ", " + std::to_string(count) + " x " + kind;
      return text;
    }
    return "no launcher";
  }

  /// Lets the launcher refill what it keeps ready until it holds what it held. Without that, two seconds.
  std::string settled(const std::string& wanted) {
    std::string now;
    for (const auto end = Tracer::Clock::now() + (wanted.empty() ? 2s : 15s); Tracer::Clock::now() < end;) {
      now = holdings();
      if (now == wanted) break;
      if (const auto stop = tracer_->next(Tracer::Clock::now() + 3ms)) tracer_->resume(*stop);
    }
    return now;
  }

  /// Whether what the caller was told is what happened.
  void judge(const std::string& site, const std::string& answer) {
    std::istringstream words(answer);
    std::string kind, code, operation;
    int number = 0;
    words >> kind >> code >> number >> operation;
    const bool told = kind == "error" && number == kFault && operation != "-";
    const bool unharmed = answer == "ok";
    // Without memory, or when its socket cannot be read, a launcher has nobody to name a step to: it ends, which is told.
    const bool ended = answer.starts_with("error unavailable 0 native.launcher ");
    // A cgroup hierarchy that cannot be used is not the launcher's failure but a limit's: the creation names the limit.
    const bool refused = answer.starts_with("error failed_precondition 0 native.limits ");
    std::cout << phase_->name << ' ' << site << ": " << answer << std::endl;
    EXPECT_TRUE(told || unharmed || ended || refused) << phase_->name << ": call " << site << " failed with errno " << kFault << ", and the caller was told: " << answer;
    ++(told || refused ? told_ : ended ? ended_ : unharmed_);
  }

 protected:
  std::string answered() {
    std::ifstream in(output_);
    in.seekg(static_cast<std::streamoff>(read_));
    std::string line;
    while (std::getline(in, line) && !in.eof()) {
      read_ += line.size() + 1;
      if (line == "ok" || line.starts_with("error ")) return line;  // a launcher without memory says so on standard error
    }
    return {};
  }

  const Phase* phase_ = nullptr;
  std::map<std::string, std::vector<std::uint64_t>> points_;
  std::set<std::string> known_;
  std::map<std::string, int> depths_;
  std::vector<std::string> sites_;   ///< in the order they were seen first
  bool inside_ = false, failed_ = false;
  int told_ = 0, unharmed_ = 0, ended_ = 0;

 private:
  Ledger before_;
  std::unique_ptr<StateDirectory> state_;
  std::unique_ptr<Tracer> tracer_;
  std::string output_;
  std::size_t read_ = 0;
  pid_t main_ = -1;
  int input_ = -1;
};

/// Phases that a creation goes through: one embedder, one failure per creation.
class Creation : public Faults {
 public:
  void run(const Phase& phase) {
    start(phase);
    ASSERT_EQ(tell("open"), "ok");
    for (int i = 0; i < 3; ++i) ASSERT_EQ(tell("create"), "ok");
    const std::string normal = settled("");
    ASSERT_FALSE(sites_.empty());
    for (std::size_t i = 0; i < sites_.size(); ++i) {  // grows when a failure leads somewhere new
      const std::string site = sites_[i];
      const std::string answer = tell("create", site);
      if (!failed_) continue;  // not on the way this time
      judge(site, answer);
      EXPECT_EQ(tell("create"), "ok") << phase.name << ": the creation after call " << site << " failed";
      EXPECT_EQ(settled(normal), normal) << phase.name << ": after call " << site << " failed";
    }
    EXPECT_GT(told_, 0);
    std::cout << phase.name << ": " << told_ << " steps told by name, " << unharmed_ << " the launcher can do without, " << ended_ << " end it" << std::endl;
    EXPECT_EQ(tell("close"), "ok");
  }
};

TEST_F(Creation, EveryStepOfTheLauncherIsToldByName) { run({"create", "launcher.before_create", "launcher.created", "create", false}); }
TEST_F(Creation, EveryStepOfTheChildIsToldByName) { run({"child", "launcher.before_create", "launcher.exit_seen", "create", true}); }

/// Phases that only a new launcher goes through: one launcher per failure.
class Beginning : public Faults {
 public:
  void run(const Phase& phase) {
    start(phase);
    const auto once = [&](const std::string& site) {
      std::string answer = tell("open", site);
      const bool failed = failed_;
      if (answer == "ok") {
        std::string created = tell("create", failed ? std::string() : site);
        failed_ = failed_ || failed;
        const bool harmed = failed_;
        EXPECT_EQ(tell("close"), "ok");
        failed_ = harmed;
        answer = created;
      }
      return answer;
    };
    ASSERT_EQ(once({}), "ok");
    ASSERT_FALSE(sites_.empty());
    const char* asked = std::getenv("SANDBOX_FAULTS");
    const Share share = read_share(asked ? asked : "").value_or(phase.sample);
    const std::size_t undisturbed = sites_.size();
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      // Where a failure led is looked at by whoever got there, if everything is to be looked at.
      if ((i < undisturbed || !asked) && !share.has(i)) continue;
      const std::string site = sites_[i];
      const std::string answer = once(site);
      if (failed_) judge(site, answer);
    }
    EXPECT_EQ(once({}), "ok");
    EXPECT_GT(told_, 0);
    std::cout << phase.name << ": " << told_ << " steps told by name, " << unharmed_ << " the launcher can do without, " << ended_ << " end it" << std::endl;
  }
};

TEST_F(Beginning, EveryStepOfALaunchersStartIsToldByName) { run({"start", "launcher.started", "launcher.configured", "open", false}); }
TEST_F(Beginning, EveryStepOfARecipeIsToldByName) { run({"prepare", "launcher.before_prepare", "launcher.prepared", "create", false, {5, 8}}); }

}  // namespace
}  // namespace sandbox::testing
