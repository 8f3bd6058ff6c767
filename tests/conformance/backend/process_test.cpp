#include <csignal>

#include <future>

#include "conformance.hpp"

namespace sandbox::testing {
namespace {

class Spawn : public Conformance {};

/// Reads until `text` appeared in the output or it ended.
std::string read_until(RunningProcess& p, const std::string& text) {
  std::string seen;
  while (seen.find(text) == std::string::npos) {
    auto chunk = p.read_for(10s);
    if (!chunk) return seen + "<" + chunk.error().to_string() + ">";
    if (!*chunk) return seen + "<end>";
    seen += (*chunk)->text();
  }
  return seen;
}

TEST_P(Spawn, OutputArrivesWhileTheProgramRuns) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("echo first; read line; echo got $line").open_stdin()).value();
  EXPECT_GT(p.pid(), 1u);
  EXPECT_EQ(read_until(p, "\n"), "first\n");
  EXPECT_OK(p.write("hello\n"));
  EXPECT_EQ(read_until(p, "\n"), "got hello\n");
  EXPECT_OK(p.close_stdin());
  const ExitStatus status = p.wait().value();
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(p.wait().value().exit_code, 0) << "wait is repeatable";
}

TEST_P(Spawn, StandardErrorIsToldApart) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("echo out; echo err >&2")).value();
  std::string out, err;
  while (auto chunk = p.read().value()) (chunk->stream == OutputChunk::Stream::out ? out : err) += chunk->text();
  EXPECT_EQ(out, "out\n");
  EXPECT_EQ(err, "err\n");
}

TEST_P(Spawn, ClosingStdinEndsAFilter) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("sort").args().open_stdin()).value();
  EXPECT_OK(p.write("b\na\n"));
  EXPECT_OK(p.close_stdin());
  EXPECT_OK(p.close_stdin());
  EXPECT_EQ(read_until(p, "b\n"), "a\nb\n");
  EXPECT_CODE(ErrorCode::failed_precondition, p.write("late"));
}

TEST_P(Spawn, WritingWithoutOpenStdinIsAPreconditionError) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("sleep 5")).value();
  EXPECT_CODE(ErrorCode::failed_precondition, p.write("x"));
}

TEST_P(Spawn, SignalsReachTheGroup) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.05; done")).value();
  EXPECT_EQ(read_until(p, "ready\n"), "ready\n");
  EXPECT_OK(p.signal(SIGUSR1));
  const std::string seen = read_until(p, "caught");
  EXPECT_NE(seen.find("caught"), std::string::npos) << seen;
  EXPECT_EQ(p.wait().value().exit_code, 9);
}

TEST_P(Spawn, KillIsReportedAsCancelled) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("trap '' TERM INT; sleep 60")).value();
  EXPECT_OK(p.kill());
  const ExitStatus status = p.wait_for(10s).value();
  EXPECT_EQ(status.cause, ExitCause::cancelled);
  EXPECT_EQ(status.signal, SIGKILL);
}

TEST_P(Spawn, DestroyingTheHandleKillsTheProgram) {
  Sandbox b = box();
  { RunningProcess p = b.process().spawn(Command("sleep 60")).value(); }
  for (int i = 0; i < 200; ++i) {
    if (b.process().exec("pgrep sleep | wc -l").value().stdout_text() == "0\n") return;
  }
  FAIL() << "sleep still runs";
}

TEST_P(Spawn, WaitForGivesUpWithoutEndingTheProgram) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("sleep 60")).value();
  EXPECT_CODE(ErrorCode::deadline_exceeded, p.wait_for(50ms));
  EXPECT_CODE(ErrorCode::deadline_exceeded, p.read_for(50ms));
  EXPECT_OK(p.kill());
  EXPECT_EQ(p.wait().value().cause, ExitCause::cancelled);
}

TEST_P(Spawn, ASlowReaderGetsEveryByte) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("seq 1 300000")).value();
  std::string all;
  while (auto chunk = p.read().value()) {
    all += chunk->text();
    if (all.size() < 100000) std::this_thread::yield();
  }
  EXPECT_TRUE(p.wait().value().ok());
  std::string expected;
  for (int i = 1; i <= 300000; ++i) expected += std::to_string(i) + "\n";
  EXPECT_EQ(all, expected);
}

TEST_P(Spawn, AWriterBlockedByTheProgramGoesOnWhenItReads) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("sleep 0.3; wc -c").open_stdin()).value();
  const std::string big(8 << 20, 'y');
  EXPECT_OK(p.write(big));
  EXPECT_OK(p.close_stdin());
  EXPECT_EQ(read_until(p, "\n"), std::to_string(big.size()) + "\n");
}

TEST_P(Spawn, ATerminalIsOne) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("test -t 0 && test -t 1 && test -t 2 && echo tty; stty size; echo $TERM").pty({33, 99})).value();
  std::string all;
  while (auto chunk = p.read().value()) all += chunk->text();
  EXPECT_EQ(all, "tty\r\n33 99\r\nxterm-256color\r\n");
  EXPECT_TRUE(p.wait().value().ok());
}

TEST_P(Spawn, ATerminalCanBeResizedAndInterrupted) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done").pty({24, 80}).open_stdin()).value();
  EXPECT_NE(read_until(p, "ready").find("ready"), std::string::npos);
  EXPECT_OK(p.resize({50, 120}));
  EXPECT_NE(read_until(p, "50 120").find("50 120"), std::string::npos);
  EXPECT_OK(p.write("\x03"));  // ^C
  const ExitStatus status = p.wait_for(10s).value();
  EXPECT_FALSE(status.ok());
  EXPECT_CODE(ErrorCode::failed_precondition, b.process().spawn(Command("sleep 1")).value().resize({1, 1}));
}

TEST_P(Spawn, OutputNobodyReadsStopsTheProgramNotTheSandbox) {
  Sandbox b = box();
  RunningProcess p = b.process().spawn(Command("yes").args()).value();
  const ExecResult neighbour = b.process().exec("echo alive").value();
  EXPECT_EQ(neighbour.stdout_text(), "alive\n");
  EXPECT_OK(b.ping());
  EXPECT_OK(p.kill());
  EXPECT_EQ(p.wait_for(10s).value().cause, ExitCause::cancelled);
}

SANDBOX_CONFORMANCE(Spawn)

}  // namespace
}  // namespace sandbox::testing
