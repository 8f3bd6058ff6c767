#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "api/exec.hpp"

#include "agent_box.hpp"

namespace sandbox::api::test {
namespace {

using namespace std::chrono_literals;

/// Whether `pid` is alive (not a zombie).
bool alive(std::uint32_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string number, name, state;
  if (!(in >> number >> name >> state)) return false;
  return state != "Z" && state != "X";
}

bool gone_within(std::uint32_t pid, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (alive(pid)) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

using Exec = Boxes;

TEST_F(Exec, CollectsOutputAndStatus) {
  auto result = box.process().exec("echo out; echo err >&2; exit 3");
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_EQ(result->cause, ExitCause::exited);
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->shell_code(), 3);
  EXPECT_EQ(result->stdout_text(), "out\n");
  EXPECT_EQ(result->stderr_text(), "err\n");
  EXPECT_EQ(result->stdout_bytes, 4u);
  EXPECT_GT(result->wall_time.count(), 0);
}

TEST_F(Exec, ArgumentsAreNotInterpreted) {
  auto result = box.process().exec(Command("printf").args("%s|", "a b", "$HOME", ";"));
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_EQ(result->stdout_text(), "a b|$HOME|;|");
}

TEST_F(Exec, StandardInputOfAnySizeIsFed) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{3} << 20}) {
    auto result = box.process().exec(Command("wc -c").stdin_text(std::string(size, 'x')));
    ASSERT_TRUE(result) << result.error().to_string();
    EXPECT_EQ(std::stoul(std::string(result->stdout_text())), size);
  }
}

TEST_F(Exec, EnvironmentWorkdirAndMergedStderr) {
  auto result = box.process().exec(Command("echo $A; pwd; echo e >&2").env("A", "1").workdir("/usr").merge_stderr());
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_EQ(result->stdout_text(), "1\n/usr\ne\n");
  EXPECT_TRUE(result->stderr_text().empty());
}

TEST_F(Exec, OutputBeyondTheLimitIsDroppedAndCounted) {
  auto result = box.process().exec(Command("head -c 300000 /dev/zero").max_output(ByteCount(1000)));
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_TRUE(result->ok());
  EXPECT_EQ(result->stdout_bytes_kept.size(), 1000u);
  EXPECT_EQ(result->stdout_bytes, 300000u);
  EXPECT_EQ(result->stdout_dropped, 299000u);
  auto nothing = box.process().exec(Command("echo hello").max_output(ByteCount(0)));
  ASSERT_TRUE(nothing) << nothing.error().to_string();
  EXPECT_TRUE(nothing->stdout_bytes_kept.empty());
  EXPECT_EQ(nothing->stdout_dropped, 6u);
}

TEST_F(Exec, ATimeoutKillsAndIsData) {
  auto result = box.process().exec(Command("echo early; sleep 60").timeout(1s));
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_EQ(result->cause, ExitCause::timed_out);
  EXPECT_EQ(result->stdout_text(), "early\n");
  EXPECT_EQ(result->shell_code(), 124);
}

TEST_F(Exec, ASignalIsTold) {
  auto result = box.process().exec("kill -TERM $$");
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_EQ(result->cause, ExitCause::signalled);
  EXPECT_EQ(result->signal, SIGTERM);
}

TEST_F(Exec, WhatCannotRunIsNotFound) {
  SANDBOX_EXPECT_CODE(box.process().exec(Command("/no/such/program").args("x")), ErrorCode::not_found);
  SANDBOX_EXPECT_CODE(box.process().exec(Command("true").workdir("/no/such/dir")), ErrorCode::not_found);
}

TEST_F(Exec, BadArgumentsAreNamedBeforeAnythingIsSent) {
  const auto refused = [&](Command command, std::string_view argument) {
    auto result = box.process().exec(std::move(command));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(result.error().message().substr(0, argument.size()), argument);
  };
  refused(Command(""), "command");
  refused(Command(std::string("a\0b", 3)), "command");
  refused(Command("ls").args(std::string("a\0b", 3)), "args");
  refused(Command("ls").workdir("relative"), "workdir");
  refused(Command("ls").env("", "x"), "name");
  refused(Command("ls").env("A=B", "x"), "name");
  refused(Command("ls").idempotency_key(std::string(65, 'k')), "idempotency_key");
  refused(Command("ls").pty({}), "pty");
  refused(Command("ls").open_stdin(), "open_stdin");
  refused(Command("ls").args(std::string(2 << 20, 'x')), "command");
  refused(Command::from_argv(std::vector<std::string>(5000, "x")), "args");
}

TEST_F(Exec, ARepeatedKeyRunsOnce) {
  const Command once = Command("echo x >> ran; wc -l < ran").workdir(agent->directory()).idempotency_key("k1");
  auto first = box.process().exec(once);
  auto second = box.process().exec(once);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->stdout_text(), "1\n");
  EXPECT_EQ(slurp(at("ran")), "x\n");
  EXPECT_EQ(second->exit_code, 0);
}

TEST_F(Exec, AnUnusableSandboxIsAskedNothing) {
  agent->set_unusable(Error(ErrorCode::failed_precondition, "paused"));
  SANDBOX_EXPECT_CODE(box.process().exec("true"), ErrorCode::failed_precondition);
  SANDBOX_EXPECT_CODE(box.process().spawn("true"), ErrorCode::failed_precondition);
  SANDBOX_EXPECT_CODE(box.fs().read("/etc/passwd"), ErrorCode::failed_precondition);
  agent->set_unusable(std::nullopt);
}

TEST_F(Exec, ADeadAgentIsUnavailable) {
  std::jthread killer([&] {
    std::this_thread::sleep_for(50ms);  // any moment will do: before, during and after are all right
    ::kill(agent->agent_pid(), SIGKILL);
  });
  SANDBOX_EXPECT_CODE(box.process().exec("sleep 60"), ErrorCode::unavailable);
  SANDBOX_EXPECT_CODE(box.process().exec("true"), ErrorCode::unavailable);
}

TEST_F(Exec, ManyThreadsRunSideBySide) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      auto result = box.process().exec(agent->meeting(i, 8));
      ASSERT_TRUE(result) << result.error().to_string();
      EXPECT_EQ(result->stdout_text(), std::to_string(i) + "\n");
    });
  }
  threads.clear();
}

using Running = Boxes;

TEST_F(Running, StreamsOutputAsItComes) {
  auto process = box.process().spawn("echo one; read line; echo two:$line; echo three >&2");
  ASSERT_TRUE(process) << process.error().to_string();
  auto quiet = box.process().spawn(Command("cat").open_stdin());
  ASSERT_TRUE(quiet);
  EXPECT_GT(process->pid(), 0u);
  std::string out, err;
  for (;;) {
    auto chunk = process->read_for(10s);
    ASSERT_TRUE(chunk) << chunk.error().to_string();
    if (!*chunk) break;
    ((*chunk)->stream == OutputChunk::Stream::out ? out : err) += (*chunk)->text();
  }
  EXPECT_EQ(out, "one\ntwo:\n");
  EXPECT_EQ(err, "three\n");
  SANDBOX_EXPECT_CODE(quiet->read_for(20ms), ErrorCode::deadline_exceeded);
}

TEST_F(Running, StandardInputIsWrittenAndClosed) {
  auto process = box.process().spawn(Command("cat").open_stdin());
  ASSERT_TRUE(process) << process.error().to_string();
  SANDBOX_EXPECT_OK(process->write("hello "));
  SANDBOX_EXPECT_OK(process->write("world"));
  SANDBOX_EXPECT_OK(process->close_stdin());
  SANDBOX_EXPECT_OK(process->close_stdin());
  SANDBOX_EXPECT_CODE(process->write("more"), ErrorCode::failed_precondition);
  std::string out;
  for (;;) {
    auto chunk = process->read_for(10s);
    ASSERT_TRUE(chunk) << chunk.error().to_string();
    if (!*chunk) break;
    out += (*chunk)->text();
  }
  EXPECT_EQ(out, "hello world");
  auto status = process->wait();
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->ok());
}

TEST_F(Running, AWriterBlocksWhileTheProgramDoesNotRead) {
  auto process = box.process().spawn(Command("read go < gate; wc -c").open_stdin().workdir(agent->directory()));
  auto gate = box.process().exec(Command("mkfifo gate2; true").workdir(agent->directory()));
  ASSERT_TRUE(process && gate);
  // No gate file: `read` fails at once and wc counts everything, however much does not fit into any buffer.
  const std::string text(8 << 20, 'w');
  SANDBOX_EXPECT_OK(process->write(text));
  SANDBOX_EXPECT_OK(process->close_stdin());
  std::string out;
  for (auto chunk = process->read(); chunk && *chunk; chunk = process->read())
    if ((*chunk)->stream == OutputChunk::Stream::out) out += (*chunk)->text();
  EXPECT_EQ(std::stoul(out), text.size());
}

TEST_F(Running, OneThreadReadsWhileAnotherWrites) {
  auto process = box.process().spawn(Command("cat").open_stdin());
  ASSERT_TRUE(process);
  const std::string text(6 << 20, 't');
  std::jthread writer([&] {
    SANDBOX_EXPECT_OK(process->write(text));
    SANDBOX_EXPECT_OK(process->close_stdin());
  });
  std::size_t got = 0;
  for (;;) {
    auto chunk = process->read_for(20s);
    ASSERT_TRUE(chunk) << chunk.error().to_string();
    if (!*chunk) break;
    got += (*chunk)->bytes.size();
  }
  EXPECT_EQ(got, text.size());
}

TEST_F(Running, SignalsReachTheProgram) {
  auto process = box.process().spawn("trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.01; done");
  ASSERT_TRUE(process);
  auto ready = process->read_for(10s);
  ASSERT_TRUE(ready && *ready);
  SANDBOX_EXPECT_OK(process->signal(SIGUSR1));
  SANDBOX_EXPECT_CODE(process->signal(0), ErrorCode::invalid_argument);
  auto status = process->wait_for(10s);
  ASSERT_TRUE(status) << status.error().to_string();
  EXPECT_EQ(status->exit_code, 7);
}

TEST_F(Running, KillSaysCancelled) {
  auto process = box.process().spawn("sleep 60");
  ASSERT_TRUE(process);
  SANDBOX_EXPECT_CODE(process->wait_for(20ms), ErrorCode::deadline_exceeded);
  SANDBOX_EXPECT_OK(process->kill());
  auto status = process->wait_for(10s);
  ASSERT_TRUE(status) << status.error().to_string();
  EXPECT_EQ(status->cause, ExitCause::cancelled);
  EXPECT_EQ(process->wait()->cause, ExitCause::cancelled);  // repeatable
}

TEST_F(Running, WaitDropsWhatNobodyRead) {
  auto process = box.process().spawn("head -c 20000000 /dev/zero");
  ASSERT_TRUE(process);
  auto status = process->wait_for(20s);
  ASSERT_TRUE(status) << status.error().to_string();
  EXPECT_TRUE(status->ok());
  EXPECT_EQ(status->stdout_bytes, 20000000u);
  EXPECT_GT(status->stdout_dropped, 0u);
}

TEST_F(Running, UnreadOutputStopsTheProgramNotTheSandbox) {
  auto loud = box.process().spawn("yes");
  ASSERT_TRUE(loud);
  for (int i = 0; i < 20; ++i) SANDBOX_EXPECT_OK(box.process().exec("true"));
  auto chunk = loud->read_for(10s);
  ASSERT_TRUE(chunk && *chunk);
  EXPECT_EQ((*chunk)->text().substr(0, 2), "y\n");
}

TEST_F(Running, DestroyingTheHandleKillsTheGroup) {
  std::uint32_t pid = 0;
  {
    auto process = box.process().spawn("sleep 60 & echo $!; wait");
    ASSERT_TRUE(process);
    pid = process->pid();
    auto chunk = process->read_for(10s);
    ASSERT_TRUE(chunk && *chunk);
    const auto child = static_cast<std::uint32_t>(std::stoul(std::string((*chunk)->text())));
    EXPECT_TRUE(alive(child));
    *process = *std::move(box.process().spawn("sleep 60"));  // replacing is destroying, too
    EXPECT_TRUE(gone_within(pid, 10s));
    EXPECT_TRUE(gone_within(child, 10s));
    pid = process->pid();
  }
  EXPECT_TRUE(gone_within(pid, 10s));
}

TEST_F(Running, ATerminalIsATerminal) {
  auto process = box.process().spawn(Command("stty size; read x; stty size").pty({30, 100}).open_stdin());
  ASSERT_TRUE(process) << process.error().to_string();
  std::string out;
  const auto read_until = [&](std::string_view what) {
    while (out.find(what) == std::string::npos) {
      auto chunk = process->read_for(10s);
      if (!chunk || !*chunk) return false;
      out += (*chunk)->text();
    }
    return true;
  };
  ASSERT_TRUE(read_until("30 100")) << out;
  SANDBOX_EXPECT_OK(process->resize({50, 132}));
  SANDBOX_EXPECT_OK(process->write("\n"));
  ASSERT_TRUE(read_until("50 132")) << out;
  auto plain = box.process().spawn("true");
  ASSERT_TRUE(plain);
  SANDBOX_EXPECT_CODE(plain->resize({1, 1}), ErrorCode::failed_precondition);
}

TEST_F(Running, SpawnOfWhatCannotRunFails) {
  SANDBOX_EXPECT_CODE(box.process().spawn(Command("/no/such").args("x")), ErrorCode::not_found);
}

using Variables = Boxes;

TEST_F(Variables, AreSetGotListedAndUnset) {
  auto env = box.env();
  SANDBOX_EXPECT_OK(env.set("COLOR", "blue"));
  auto value = env.get("COLOR");
  ASSERT_TRUE(value && *value);
  EXPECT_EQ(**value, "blue");
  EXPECT_EQ(box.process().exec("echo $COLOR")->stdout_text(), "blue\n");
  auto all = env.list();
  ASSERT_TRUE(all);
  EXPECT_TRUE(std::is_sorted(all->begin(), all->end()));
  EXPECT_NE(std::find(all->begin(), all->end(), std::pair<std::string, std::string>("COLOR", "blue")), all->end());
  SANDBOX_EXPECT_OK(env.unset("COLOR"));
  value = env.get("COLOR");
  ASSERT_TRUE(value);
  EXPECT_FALSE(*value);
  SANDBOX_EXPECT_CODE(env.set("A=B", "x"), ErrorCode::invalid_argument);
  SANDBOX_EXPECT_CODE(env.get(""), ErrorCode::invalid_argument);
}

TEST(ExitStatus, IsNotInventedWhenTheAgentNamesNoCause) {
  protocol::ExecOutcome outcome;
  for (const int cause : {0, 7, 99}) {
    outcome.cause = static_cast<protocol::ExitCause>(cause);
    const auto status = to_status(outcome);
    ASSERT_FALSE(status) << cause;
    EXPECT_EQ(status.error().code(), ErrorCode::protocol);
    EXPECT_EQ(status.error().origin(), Origin::guest);
  }
  outcome.cause = protocol::ExitCause::exited;
  outcome.exit_code = 7;
  const auto status = to_status(outcome);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->cause, ExitCause::exited);
  EXPECT_EQ(status->exit_code, 7);
}

}  // namespace
}  // namespace sandbox::api::test
