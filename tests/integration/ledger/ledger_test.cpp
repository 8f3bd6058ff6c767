// What is left on the host: nothing, whoever dies.
#include <gtest/gtest.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <thread>
#include <utility>
#include <vector>
#include <mutex>

#include "support/eventually.hpp"
#include "support/ledger.hpp"
#include "support/live_runtime.hpp"

extern char** environ;

namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;

class Child {
 public:
  explicit Child(std::vector<std::string> argv) {
    int pipe_fds[2];
    if (::pipe2(pipe_fds, O_CLOEXEC) != 0) std::abort();
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
    std::vector<char*> raw;
    for (auto& word : argv) raw.push_back(word.data());
    raw.push_back(nullptr);
    if (::posix_spawn(&pid_, raw[0], &actions, nullptr, raw.data(), environ) != 0) pid_ = -1;
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(pipe_fds[1]);
    out_ = pipe_fds[0];
  }
  ~Child() {
    kill(SIGKILL);
  }
  int pid() const { return pid_; }
  /// Reads one line; empty at the end of output.
  std::string line() {
    std::string text;
    for (char c; ::read(out_, &c, 1) == 1 && c != '\n';) text += c;
    return text;
  }
  void kill(int signal) {
    if (out_ >= 0) ::close(std::exchange(out_, -1));
    if (pid_ <= 0) return;
    ::kill(pid_, signal);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
  int out_ = -1;
};

/// Those of `family` that still exist after `limit`: once their parent is dead they are nobody's descendants.
std::string survivors(const std::map<int, std::string>& family, std::chrono::milliseconds limit) {
  std::string left;
  eventually(
      [&] {
        left.clear();
        for (const auto& [pid, name] : family)
          if (::kill(pid, 0) == 0) left += std::to_string(pid) + " " + name + "; ";
        return left.empty();
      },
      limit);
  return left;
}

std::string embedder() { return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "embedder"; }

TEST(Ledger, IsCleanAfterManyRounds) {
  StateDirectory state;
  const Ledger outside = Ledger::take();
  {
    Runtime runtime = Runtime::open(RuntimeOptions().state_directory(state.path())).value();
    runtime.create().value().process().exec("true").value();  // first use sets up what lasts as long as the runtime
    // Backlogs of the launchers refill in the background: compare only what a sandbox makes.
    const auto processes = steady([] { return descendants(::getpid()).size(); });
    for (int i = 0; i < 100; ++i) {
      Sandbox box = runtime.create(SandboxSpec(), CreateOptions().cold()).value();
      EXPECT_TRUE(box.process().exec("echo x > /root/f").value().ok());
      EXPECT_OK(box.close());
    }
    // close() returns when every process has ended; the launcher reaps the last one right behind it.
    auto left = descendants(::getpid());
    for (const auto start = std::chrono::steady_clock::now(); left.size() != processes && std::chrono::steady_clock::now() - start < 15s;)
      left = descendants(::getpid());
    EXPECT_EQ(left.size(), processes) << ::testing::PrintToString(left);
    EXPECT_EQ(runtime.live(), 0u);
    EXPECT_OK(runtime.close());
  }
  EXPECT_EQ(settle(outside, 15s), "");
}

TEST(Ledger, ClosingTheRuntimeDestroysWhatIsLeft) {
  StateDirectory state;
  const Ledger before = Ledger::take();
  {
    Runtime runtime = Runtime::open(RuntimeOptions().state_directory(state.path()).warm(3)).value();
    EXPECT_OK(runtime.wait_warm());
    Sandbox box = runtime.create().value();
    RunningProcess p = box.process().spawn("sleep 1000").value();
    const auto start = std::chrono::steady_clock::now();
    EXPECT_OK(runtime.close());
    EXPECT_LT(std::chrono::steady_clock::now() - start, 1s);
    EXPECT_CODE(ErrorCode::failed_precondition, box.process().exec("true"));
  }
  EXPECT_EQ(settle(before, 15s), "");
}

TEST(Ledger, AKilledEmbedderLeavesNothing) {
  StateDirectory state;
  const Ledger before = Ledger::take();
  for (int round = 0; round < 3; ++round) {
    Child child({embedder(), state.path(), "4"});
    ASSERT_EQ(child.line(), "ready");
    const auto family = descendants(child.pid());
    EXPECT_GE(family.size(), 4u);
    child.kill(SIGKILL);
    EXPECT_EQ(survivors(family, 15s), "") << "round " << round;
    EXPECT_EQ(settle(before, 15s), "") << "round " << round;
  }
}

TEST(Ledger, AnEmbedderKilledWhileStartingLeavesNothing) {
  StateDirectory state;
  const Ledger before = Ledger::take();
  for (int round = 0; round < 12; ++round) {
    Child child({embedder(), state.path(), "8"});
    // Another moment of its start each round; where it is then does not matter, that is the test.
    std::this_thread::sleep_for(std::chrono::milliseconds(3 * round));
    const auto family = descendants(child.pid());
    child.kill(SIGKILL);
    EXPECT_EQ(survivors(family, 15s), "") << "round " << round;
    EXPECT_EQ(settle(before, 15s), "") << "round " << round;
  }
}

TEST(Ledger, AnEmbedderKilledWhileSavingLeavesNoHalfTemplate) {
  StateDirectory state;
  for (int round = 0; round < 4; ++round) {
    Child child({embedder(), state.path(), "1", "save"});
    ASSERT_EQ(child.line(), "ready");
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + 60 * round));
    child.kill(SIGKILL);
    Runtime runtime = Runtime::open(RuntimeOptions().state_directory(state.path())).value();
    const auto templates = runtime.templates();
    ASSERT_TRUE(templates) << templates.error().to_string();
    for (const auto& info : *templates) {
      Sandbox box = runtime.create(SandboxSpec().image(Image::from_template(info.id))).value();
      EXPECT_EQ(box.fs().stat("/root/f").value().size, 1u << 20) << "what is listed is whole";
      EXPECT_OK(box.close());
      EXPECT_OK(runtime.remove_template(info.id));
    }
    EXPECT_OK(runtime.close());
  }
}

/// Code of the first error an exec meets. A process that was sent SIGKILL answers until it next runs, so the first few
/// may well succeed.
std::string ends_with(Sandbox& box) {
  for (const auto start = std::chrono::steady_clock::now(); std::chrono::steady_clock::now() - start < 5s;) {
    if (const auto result = box.process().exec("true"); !result) return std::string(name(result.error().code()));
  }
  return "nothing: it still runs";
}

TEST(Ledger, AKilledLauncherLosesItsSandboxesAndTheRuntimeGoesOn) {
  StateDirectory state;
  const Ledger before = Ledger::take();
  {
    std::mutex mutex;
    std::vector<RuntimeEvent> events;
    Runtime runtime = Runtime::open(RuntimeOptions().state_directory(state.path()).on_event([&](const RuntimeEvent& e) {
                        std::lock_guard lock(mutex);
                        events.push_back(e);
                      })).value();
    Sandbox box = runtime.create().value();
    std::size_t launchers = 0;
    for (const auto& [pid, name] : descendants(::getpid())) {
      if (name.starts_with("sandbox-launch") && ++launchers) ::kill(pid, SIGKILL);
    }
    ASSERT_GE(launchers, 1u);
    EXPECT_EQ(ends_with(box), "unavailable");
    bool recovered = false;
    for (const auto start = std::chrono::steady_clock::now(); !recovered && std::chrono::steady_clock::now() - start < 5s;) {
      auto again = runtime.create();
      recovered = again && again->process().exec("true");
      if (!again) again.error().ignore("not yet");
    }
    EXPECT_TRUE(recovered);
    EXPECT_OK(runtime.close());
    std::lock_guard lock(mutex);
    EXPECT_TRUE(std::any_of(events.begin(), events.end(), [&](const RuntimeEvent& e) { return e.kind == RuntimeEvent::Kind::lost && e.sandbox_id == box.id(); }));
  }
  EXPECT_EQ(settle(before, 15s), "");
}

TEST(Ledger, AKilledAgentIsReportedAsLost) {
  StateDirectory state;
  Runtime runtime = Runtime::open(RuntimeOptions().state_directory(state.path())).value();
  Sandbox box = runtime.create().value();
  int agent = 0;
  for (const auto& [pid, name] : descendants(::getpid())) {
    if (name.starts_with("sandbox-agent") || name == "3" || name.starts_with("memfd")) agent = pid;
  }
  ASSERT_GT(agent, 0) << "no agent among our descendants";
  ::kill(agent, SIGKILL);
  EXPECT_EQ(ends_with(box), "unavailable");
  EXPECT_OK(box.close());
  EXPECT_OK(runtime.close());
}

}  // namespace
}  // namespace sandbox::testing
