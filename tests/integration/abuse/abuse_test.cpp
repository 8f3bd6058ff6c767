// Guests that misbehave: each ends in a clear error or a true terminal cause, and a neighbour keeps answering.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "support/live_runtime.hpp"

namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;
using namespace sandbox::literals;

/// Pings a sandbox of its own all the while; the slowest answer is the damage done to a neighbour.
class Neighbour {
 public:
  explicit Neighbour(Sandbox box) : box_(std::move(box)), thread_([this] { run(); }) {}
  ~Neighbour() { stop(); }
  std::chrono::nanoseconds stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
    return slowest_;
  }
  std::string failure() const { return failure_; }

 private:
  void run() {
    while (!stopping_) {
      const auto answer = box_.ping(5s);
      if (!answer) {
        failure_ = answer.error().to_string();
        return;
      }
      slowest_ = std::max(slowest_, *answer);
      std::this_thread::sleep_for(1ms);  // pace of the pings
    }
  }
  Sandbox box_;
  std::atomic<bool> stopping_{false};
  std::chrono::nanoseconds slowest_{0};
  std::string failure_;
  std::thread thread_;
};

class Abuse : public LiveTest {
 protected:
  void SetUp() override {
    LiveTest::SetUp();
    if (HasFatalFailure()) return;
    neighbour_ = std::make_unique<Neighbour>(make());
  }
  void TearDown() override {
    if (!neighbour_) return;
    const auto slowest = neighbour_->stop();
    EXPECT_EQ(neighbour_->failure(), "");
    // Two shared cores and a scheduler: a second is far beyond what a healthy neighbour shows, and far below a hang.
    EXPECT_LT(slowest, 1s);
    neighbour_.reset();
  }

 private:
  std::unique_ptr<Neighbour> neighbour_;
};

std::size_t own_memory_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == "VmRSS:") {
      std::size_t kib = 0;
      status >> kib;
      return kib;
    }
  }
  return 0;
}

TEST_F(Abuse, EndlessOutputNobodyReadsBlocksTheProgramAndCostsNoMemory) {
  Sandbox b = make();
  const std::size_t before = own_memory_kib();
  const ByteCount inside_before = b.stats().value().memory;
  RunningProcess flood = b.process().spawn(Command("head -c 10G /dev/zero")).value();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(b.process().exec("true").value().ok());
  EXPECT_LT(own_memory_kib(), before + 16 * 1024);
  EXPECT_LT(b.stats().value().memory.bytes(), inside_before.bytes() + (16u << 20));
  EXPECT_OK(flood.kill());
  EXPECT_EQ(flood.wait_for(10s).value().cause, ExitCause::cancelled);
}

TEST_F(Abuse, AGibibyteBeyondTheLimitIsDroppedAndCounted) {
  Sandbox b = make();
  const std::size_t before = own_memory_kib();
  const ExecResult r = b.process().exec(Command("head -c 1G /dev/zero").max_output(64_KiB).timeout(60s)).value();
  EXPECT_EQ(r.cause, ExitCause::exited);
  EXPECT_EQ(r.stdout_bytes, 1ull << 30);
  EXPECT_EQ(r.stdout_dropped, (1ull << 30) - (64u << 10));
  EXPECT_LT(own_memory_kib(), before + 16 * 1024);
}

TEST_F(Abuse, IgnoringSigtermDoesNotHelpAgainstATimeout) {
  Sandbox b = make();
  const ExecResult r =
      b.process().exec(Command("python3").args("-c", "import signal,time\nfor s in range(1,32):\n  try: signal.signal(s, signal.SIG_IGN)\n  except OSError: pass\ntime.sleep(60)").timeout(1s)).value();
  EXPECT_EQ(r.cause, ExitCause::timed_out);
}

TEST_F(Abuse, AForkBombIsHeldByThePidLimitAndDiesWithItsTimeout) {
  Sandbox b = make(SandboxSpec().limits(Limits().pids(128)));
  auto result = b.process().exec(Command("f() { f | f; }; f").timeout(1s));
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_OK(b.ping());
  // Everything the bomb left is gone or can be cleared: the sandbox still runs commands.
  EXPECT_TRUE(b.process().exec(Command("true").timeout(5s)).value().ok());
}

TEST_F(Abuse, AMemoryBombIsKilledAndSaysSo) {
  Sandbox b = make(SandboxSpec().limits(Limits().memory(64_MiB)));
  const ExecResult r = b.process().exec(Command("python3").args("-c", "l = []\nwhile True: l.append(bytearray(1 << 20))").timeout(30s)).value();
  EXPECT_EQ(r.cause, ExitCause::out_of_memory);
  EXPECT_OK(b.ping());
}

TEST_F(Abuse, FillingShmCountsAgainstTheDiskLimit) {
  Sandbox b = make(SandboxSpec().limits(Limits().disk(8_MiB)));
  EXPECT_FALSE(b.process().exec("head -c 64M /dev/zero > /dev/shm/x").value().ok());
  EXPECT_LE(b.stats().value().disk_used.bytes(), 8u << 20);
  EXPECT_OK(b.ping());
}

TEST_F(Abuse, DeletedOpenFilesStillCount) {
  Sandbox b = make(SandboxSpec().limits(Limits().disk(8_MiB)));
  const ExecResult r = b.process().exec("exec 3>/root/x; rm /root/x; head -c 64M /dev/zero >&3; echo $?").value();
  EXPECT_EQ(r.stdout_text(), "1\n");
  EXPECT_TRUE(b.process().exec("head -c 4M /dev/zero > /root/y").value().ok()) << "space comes back when the file is gone";
}

TEST_F(Abuse, InodesAreBounded) {
  Sandbox b = make(SandboxSpec().limits(Limits().inodes(500)));
  EXPECT_FALSE(b.process().exec("i=0; while [ $i -lt 1000 ]; do : > /tmp/$i || exit 1; i=$((i+1)); done").value().ok());
  EXPECT_OK(b.ping());
}

TEST_F(Abuse, DescriptorsAreBounded) {
  Sandbox b = make(SandboxSpec().limits(Limits().open_files(64)));
  const ExecResult r = b.process().exec(Command("python3").args("-c", "import os\nn = 0\ntry:\n  while True:\n    os.dup(0); n += 1\nexcept OSError: print(n)")).value();
  EXPECT_LT(std::stoi(std::string(r.stdout_text())), 64);
}

TEST_F(Abuse, KillingEverythingInsideLeavesTheAgent) {
  Sandbox b = make();
  RunningProcess sleeper = b.process().spawn(Command("sleep 60")).value();
  b.process().exec("kill -9 -1").value();
  EXPECT_EQ(sleeper.wait_for(10s).value().cause, ExitCause::signalled);
  b.process().exec("kill -STOP 1; kill -KILL 1; kill -TERM 1").value();
  EXPECT_TRUE(b.process().exec("echo still here").value().ok());
}

TEST_F(Abuse, DaemonisedChildrenAndZombiesAreReapedOrDieWithTheSandbox) {
  Sandbox b = make();
  EXPECT_TRUE(b.process().exec("for i in 1 2 3 4 5; do (setsid sh -c 'true' &) ; done").value().ok());
  for (int i = 0; i < 100; ++i) {
    if (b.process().exec("ps -e -o stat= | grep -c Z").value().stdout_text() == "0\n") break;
  }
  EXPECT_EQ(b.process().exec("ps -e -o stat= | grep -c Z").value().stdout_text(), "0\n");
}

TEST_F(Abuse, AStoppedProgramStillTimesOut) {
  Sandbox b = make();
  const ExecResult r = b.process().exec(Command("kill -STOP $$").timeout(500ms)).value();
  EXPECT_EQ(r.cause, ExitCause::timed_out);
}

TEST_F(Abuse, ClosingASandboxUnderFireEndsIt) {
  Sandbox b = make(SandboxSpec().limits(Limits().pids(200)));
  RunningProcess bomb = b.process().spawn(Command("i=0; while [ $i -lt 150 ]; do (while :; do :; done) & i=$((i+1)); done; wait")).value();
  while (b.stats().value().pids < 140) std::this_thread::yield();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_OK(b.close());
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s) << "how quick it really is stands in the benchmarks";
}

TEST_F(Abuse, AnUnreadablePathSaysSo) {
  Sandbox b = make();
  StateDirectory host;
  EXPECT_CODE(ErrorCode::not_found, b.fs().upload(host.path() + "/none", "/root/x"));
  EXPECT_CODE(ErrorCode::not_found, b.fs().download("/root/none", host.path() + "/x"));
  EXPECT_TRUE(b.process().exec("mkdir /root/d; echo 1 > /root/d/f; chmod 0 /root/d").value().ok());
  EXPECT_CODE(ErrorCode::permission_denied, b.fs().read("/root/d/f"));
}

TEST_F(Abuse, AHostileTreeStaysBelowTheDownloadDirectory) {
  Sandbox b = make();
  StateDirectory host;
  const std::string outside = host.path() + "/outside";
  std::filesystem::create_directory(outside);
  EXPECT_TRUE(b.process().exec("mkdir -p /root/t/d; ln -s " + outside + " /root/t/out; ln -s ../../.. /root/t/up; "
                               "mkfifo /root/t/fifo; echo x > /root/t/d/f; chmod 4755 /root/t/d/f").value().ok());
  const auto summary = b.fs().download("/root/t", host.path() + "/in");
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_EQ(summary->skipped.size(), 3u) << "the FIFO and the two links that lead outside";
  EXPECT_TRUE(std::filesystem::is_empty(outside));
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(host.path() + "/in/out")));
  EXPECT_EQ(std::filesystem::status(host.path() + "/in/d/f").permissions() & std::filesystem::perms::set_uid, std::filesystem::perms::none);
  // A second download over a tree in which a directory has become a link must not write through it.
  std::filesystem::remove_all(host.path() + "/in/d");
  std::filesystem::create_symlink(outside, host.path() + "/in/d");
  b.fs().download("/root/t", host.path() + "/in").ignore("an error is as good as a replaced link");
  EXPECT_TRUE(std::filesystem::is_empty(outside));
}

TEST_F(Abuse, DeepTreesAreRemovedAndListed) {
  Sandbox b = make(SandboxSpec().limits(Limits().inodes(30000)));
  EXPECT_TRUE(b.process().exec(Command("python3").args("-c",
      "import os\nos.chdir('/root')\nos.mkdir('deep'); os.chdir('deep')\nfor i in range(1500):\n  os.mkdir('d'); os.chdir('d')")).value().ok());
  EXPECT_OK(b.fs().find("/root/deep", "**"));
  EXPECT_OK(b.fs().remove_all("/root/deep"));
  EXPECT_FALSE(b.fs().exists("/root/deep").value());
}

}  // namespace
}  // namespace sandbox::testing
