#include <csignal>

#include <future>

#include "conformance.hpp"
#include "support/eventually.hpp"

namespace sandbox::testing {
namespace {

class Exec : public Conformance {
 protected:
  /// Whether every process of that name ends: who left the group of a killed program is found a moment after it.
  static bool nobody(Sandbox& box, const std::string& name) {
    return eventually([&] { return box.process().exec("pgrep " + name + " | wc -l").value().stdout_text() == "0\n"; });
  }
};

TEST_P(Exec, ReturnsOutputAndExitCode) {
  Sandbox b = box();
  const ExecResult r = b.process().exec("echo out; echo err >&2; exit 3").value();
  EXPECT_EQ(r.cause, ExitCause::exited);
  EXPECT_EQ(r.exit_code, 3);
  EXPECT_EQ(r.stdout_text(), "out\n");
  EXPECT_EQ(r.stderr_text(), "err\n");
  EXPECT_EQ(r.stdout_bytes, 4u);
  EXPECT_GT(r.wall_time.count(), 0);
}

TEST_P(Exec, ArgvIsNotInterpreted) {
  Sandbox b = box();
  const ExecResult r = b.process().exec(Command("printf").args("%s|", "a b", "$HOME", "*", "")).value();
  EXPECT_EQ(r.stdout_text(), "a b|$HOME|*||");
}

TEST_P(Exec, MissingProgramIsNotFoundAndNamed) {
  Sandbox b = box();
  const auto r = b.process().exec(Command("no-such-program").args("x"));
  EXPECT_CODE(ErrorCode::not_found, r);
  EXPECT_NE(r.error().message().find("no-such-program"), std::string::npos) << r.error().message();
}

TEST_P(Exec, MissingWorkdirIsNotFoundAndNamed) {
  Sandbox b = box();
  const auto r = b.process().exec(Command("true").args().workdir("/no/such/dir"));
  EXPECT_CODE(ErrorCode::not_found, r);
  EXPECT_NE(r.error().message().find("/no/such/dir"), std::string::npos) << r.error().message();
}

TEST_P(Exec, NotExecutableIsPermissionDenied) {
  Sandbox b = box();
  EXPECT_OK(b.fs().write("/root/data", "not a program"));
  EXPECT_CODE(ErrorCode::permission_denied, b.process().exec(Command("/root/data").args("x")));
}

TEST_P(Exec, WorkdirAndEnvironment) {
  Sandbox b = box();
  const ExecResult r = b.process().exec(Command("pwd; echo $A-$HOME").env("A", "1 2").workdir("/tmp")).value();
  EXPECT_EQ(r.stdout_text(), "/tmp\n1 2-/root\n");
  EXPECT_EQ(b.process().exec("pwd").value().stdout_text(), "/root\n");
  const ExecResult cleared = b.process().exec(Command("/usr/bin/env").args().clear_env().env("ONLY", "1")).value();
  EXPECT_EQ(cleared.stdout_text(), "ONLY=1\n");
}

TEST_P(Exec, StdinTextIsReadToTheEnd) {
  Sandbox b = box();
  EXPECT_EQ(b.process().exec(Command("cat; echo done").stdin_text("one\ntwo")).value().stdout_text(), "one\ntwodone\n");
  std::string big(3 << 20, 'x');
  EXPECT_EQ(b.process().exec(Command("wc -c").stdin_text(big)).value().stdout_text(), std::to_string(big.size()) + "\n");
}

TEST_P(Exec, WithoutStdinReadsEndOfFile) {
  Sandbox b = box();
  EXPECT_EQ(b.process().exec("cat; echo end").value().stdout_text(), "end\n");
}

TEST_P(Exec, ASignalIsReportedAsSuch) {
  Sandbox b = box();
  const ExecResult r = b.process().exec("kill -TERM $$").value();
  EXPECT_EQ(r.cause, ExitCause::signalled);
  EXPECT_EQ(r.signal, SIGTERM);
  EXPECT_EQ(r.shell_code(), 128 + SIGTERM);
}

TEST_P(Exec, TimeoutKillsTheWholeGroupAndKeepsOutput) {
  Sandbox b = box();
  const auto start = std::chrono::steady_clock::now();
  const ExecResult r = b.process().exec(Command("trap '' TERM; echo before; (sleep 60 & sleep 60)").timeout(1s)).value();
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_EQ(r.cause, ExitCause::timed_out);
  EXPECT_EQ(r.stdout_text(), "before\n");
  EXPECT_EQ(r.shell_code(), 124);
  EXPECT_TRUE(nobody(b, "sleep"));
}

TEST_P(Exec, TimeoutReachesDescendantsThatLeftTheGroup) {
  Sandbox b = box();
  const ExecResult r = b.process().exec(Command("setsid sleep 61 & sleep 60").timeout(300ms)).value();
  EXPECT_EQ(r.cause, ExitCause::timed_out);
  EXPECT_TRUE(nobody(b, "sleep"));
}

TEST_P(Exec, OutputBeyondTheLimitIsDroppedAndCounted) {
  Sandbox b = box();
  const ExecResult r = b.process().exec(Command("head -c 5000000 /dev/zero; echo end >&2").max_output(ByteCount(1000))).value();
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_EQ(r.stdout_bytes_kept.size(), 1000u);
  EXPECT_EQ(r.stdout_bytes, 5000000u);
  EXPECT_EQ(r.stdout_dropped, 5000000u - 1000u);
  EXPECT_EQ(r.stderr_text(), "end\n");
}

TEST_P(Exec, OutputUpToTheDefaultLimitIsComplete) {
  Sandbox b = box();
  const ExecResult r = b.process().exec("head -c 1048576 /dev/zero | tr '\\0' x").value();
  EXPECT_EQ(r.stdout_bytes_kept.size(), 1048576u);
  EXPECT_EQ(r.stdout_dropped, 0u);
}

TEST_P(Exec, BinaryOutputIsUnchanged) {
  Sandbox b = box();
  const ExecResult r = b.process().exec("printf '\\000\\377\\r\\n\\033'").value();
  EXPECT_EQ(r.stdout_text(), std::string_view("\0\xff\r\n\x1b", 5));
}

TEST_P(Exec, MergedStderrKeepsOrder) {
  Sandbox b = box();
  const ExecResult r = b.process().exec(Command("echo 1; echo 2 >&2; echo 3").merge_stderr()).value();
  EXPECT_EQ(r.stdout_text(), "1\n2\n3\n");
  EXPECT_TRUE(r.stderr_bytes_kept.empty());
}

TEST_P(Exec, ParallelOperationsDoNotWaitForEachOther) {
  Sandbox b = box();
  auto slow = std::async(std::launch::async, [&] {
    return b.process().exec(Command("touch /tmp/begun; until [ -e /tmp/go ]; do sleep 0.01; done; echo slow").timeout(30s));
  });
  EXPECT_TRUE(eventually([&] { return b.fs().exists("/tmp/begun").value(); }));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(b.process().exec("echo fast").value().stdout_text(), "fast\n");
  EXPECT_OK(b.fs().write("/tmp/go", ""));
  EXPECT_EQ(slow.get().value().stdout_text(), "slow\n");
}

TEST_P(Exec, AHundredAtOnceFromManyThreads) {
  Sandbox b = box();
  std::vector<std::future<bool>> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(std::async(std::launch::async, [&b, i] {
      return b.process().exec("echo " + std::to_string(i)).value().stdout_text() == std::to_string(i) + "\n";
    }));
  }
  for (auto& one : all) EXPECT_TRUE(one.get());
}

TEST_P(Exec, SameIdempotencyKeyRunsOnce) {
  Sandbox b = box();
  Command command = Command("echo x >> /root/runs; cat /root/runs").idempotency_key("k1");
  EXPECT_EQ(b.process().exec(command).value().stdout_text(), "x\n");
  EXPECT_EQ(b.process().exec(command).value().exit_code, 0);
  EXPECT_EQ(b.fs().read_text("/root/runs").value(), "x\n");
}

TEST_P(Exec, ABackgroundChildThatLetsGoOfTheOutputDoesNotHoldTheResult) {
  Sandbox b = box();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(b.process().exec("sleep 30 >/dev/null 2>&1 & echo started").value().stdout_text(), "started\n");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

TEST_P(Exec, NulInArgumentsIsRefused) {
  Sandbox b = box();
  EXPECT_CODE(ErrorCode::invalid_argument, b.process().exec(Command("echo").args(std::string("a\0b", 3))));
  EXPECT_CODE(ErrorCode::invalid_argument, b.process().exec(Command("echo").args("x").env("A=B", "1")));
}

TEST_P(Exec, EmptyCommandIsRefused) {
  Sandbox b = box();
  EXPECT_CODE(ErrorCode::invalid_argument, b.process().exec(Command("").args()));
}

TEST_P(Exec, NewProcessesHaveOnlyStandardDescriptors) {
  Sandbox b = box();
  EXPECT_EQ(b.process().exec("ls /proc/self/fd | wc -l").value().stdout_text(), "4\n");  // 0, 1, 2 and ls's own
}

SANDBOX_CONFORMANCE(Exec)

}  // namespace
}  // namespace sandbox::testing
