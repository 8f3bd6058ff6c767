#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "harness.hpp"

namespace sandbox::agent::testing {
namespace {

using protocol::ExitCause;

/// Whether `pid` is a live process, not a zombie.
bool alive(long pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(stat, text)) return false;
  const auto end = text.rfind(')');
  return end != text.npos && text[end + 2] != 'Z' && text[end + 2] != 'X';
}

TEST(AgentExec, ReportsExitCodeAndBothOutputs) {
  Harness harness;
  const auto call = harness.run("echo out; echo err >&2; exit 7");
  ASSERT_TRUE(call->ok());
  EXPECT_EQ(call->out, "out\n");
  EXPECT_EQ(call->err, "err\n");
  const auto outcome = call->result();
  EXPECT_EQ(outcome.cause, ExitCause::exited);
  EXPECT_EQ(outcome.exit_code, 7u);
  EXPECT_EQ(outcome.out_total, 4u);
  EXPECT_EQ(outcome.err_total, 4u);
  EXPECT_EQ(outcome.out_dropped, 0u);
  EXPECT_GT(outcome.wall_ns, 0u);
  EXPECT_GT(outcome.max_rss_kib, 0u);
  ASSERT_TRUE(call->started());
  EXPECT_GT(call->pid(), 1u);
}

TEST(AgentExec, PassesArgumentsUninterpreted) {
  Harness harness;
  const auto call = harness.client->exec(argv_request({"printf", "%s|", "a b", "$HOME", "*", "", "\n"}));
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->out, "a b|$HOME|*||\n|");
}

TEST(AgentExec, SaysWhichSignalEndedTheProgram) {
  Harness harness;
  const auto outcome = harness.run("kill -SEGV $$")->result();
  EXPECT_EQ(outcome.cause, ExitCause::signalled);
  EXPECT_EQ(outcome.signal, static_cast<std::uint32_t>(SIGSEGV));
  EXPECT_EQ(harness.run("kill -KILL $$")->result().cause, ExitCause::signalled);
}

TEST(AgentExec, CallsResourceAndPolicySignalsLimits) {
  Harness harness;
  for (const int signal : {SIGXCPU, SIGXFSZ, SIGSYS}) {
    const auto outcome = harness.run("kill -" + std::to_string(signal) + " $$")->result();
    EXPECT_EQ(outcome.cause, ExitCause::limit_hit);
    EXPECT_EQ(outcome.signal, static_cast<std::uint32_t>(signal));
  }
}

TEST(AgentExec, CallsSigkillOutOfMemoryWhenTheCounterGrew) {
  char path[] = "/tmp/oom-counter-XXXXXX";
  core::UniqueFd counter(::mkstemp(path));
  ASSERT_EQ(::write(counter.get(), "low 0\noom 0\noom_kill 3\n", 23), 23);
  auto settings = Harness::default_settings();
  settings.oom_counter = core::UniqueFd(::dup(counter.get()));
  Harness harness(std::move(settings));
  // The program plays the kernel's part: it counts an OOM kill, then dies of SIGKILL.
  const auto outcome = harness.run(std::string("printf 'low 0\\noom 9\\noom_kill 5\\n' > ") + path + "; kill -9 $$")->result();
  EXPECT_EQ(outcome.cause, ExitCause::out_of_memory);
  EXPECT_EQ(outcome.oom_kills, 2u);
  EXPECT_EQ(harness.run("kill -9 $$")->result().cause, ExitCause::signalled);
  ::unlink(path);
}

TEST(AgentExec, NamesTheMissingProgram) {
  Harness harness;
  for (const char* name : {"/no/such/program", "no-such-program-anywhere"}) {
    const auto call = harness.client->exec(argv_request({name}));
    ASSERT_TRUE(harness.finish(call));
    ASSERT_FALSE(call->ok());
    const Error error = call->error();
    EXPECT_EQ(error.code(), ErrorCode::not_found) << name;
    EXPECT_EQ(error.operation(), "exec.program");
    EXPECT_NE(error.message().find(name), std::string::npos);
  }
}

TEST(AgentExec, NamesTheMissingWorkdirAndTheForbiddenProgram) {
  Harness harness;
  auto request = argv_request({"true"});
  request.workdir = "/no/such/dir";
  auto call = harness.client->exec(request);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->error().code(), ErrorCode::not_found);
  EXPECT_EQ(call->error().operation(), "exec.workdir");

  call = harness.client->exec(argv_request({"/etc/passwd"}));
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->error().code(), ErrorCode::permission_denied);
  EXPECT_EQ(call->error().operation(), "exec.program");
}

TEST(AgentExec, SaysWhenOnlyTheInterpreterIsMissing) {
  char path[] = "/tmp/script-XXXXXX";
  {
    core::UniqueFd script(::mkstemp(path));
    ASSERT_GT(::write(script.get(), "#!/no/such/interpreter\n", 23), 0);
    ::fchmod(script.get(), 0700);
  }
  Harness harness;
  const auto call = harness.client->exec(argv_request({path}));
  ASSERT_TRUE(harness.finish(call));
  EXPECT_NE(call->error().message().find("interpreter"), std::string::npos);
  ::unlink(path);
}

TEST(AgentExec, RefusesRequestsThatMakeNoSense) {
  Harness harness;
  std::vector<protocol::ExecRequest> bad(6, shell_request("true"));
  bad[0].shell.clear();
  bad[1].argv = {"true"};
  bad[2].workdir = "relative";
  bad[3].env = {{"A=B", "c"}};
  bad[4].env = {{"", "c"}};
  bad[5].shell = std::string("a\0b", 3);
  for (const auto& request : bad) {
    const auto call = harness.client->exec(request);
    ASSERT_TRUE(harness.finish(call));
    EXPECT_EQ(call->error().code(), ErrorCode::invalid_argument);
  }
  const auto garbage = harness.client->open(protocol::Method::exec, "\xff\xff\xff");
  ASSERT_TRUE(harness.finish(garbage));
  EXPECT_EQ(garbage->error().code(), ErrorCode::protocol);
}

TEST(AgentExec, GivesProgramsACleanStart) {
  // Neither descriptors nor signal mask nor ignored signals nor umask of the agent.
  const core::UniqueFd dirty(::open("/dev/zero", O_RDONLY));   // inheritable on purpose
  Harness harness;
  auto call = harness.run("exec ls /proc/self/fd");
  EXPECT_EQ(call->out, "0\n1\n2\n3\n");   // 3 is what ls itself reads
  call = harness.run("grep -E '^(SigBlk|SigIgn):' /proc/self/status | tr -d '\\t'");
  EXPECT_EQ(call->out, "SigBlk:0000000000000000\nSigIgn:0000000000000000\n");
  call = harness.run("cut -d' ' -f1,5,6 /proc/self/stat; echo $$");
  int pid = 0, group = 0, session = 0, shell = 0;
  ASSERT_EQ(::sscanf(call->out.c_str(), "%d %d %d %d", &pid, &group, &session, &shell), 4);
  EXPECT_EQ(group, shell);
  EXPECT_EQ(session, shell);
}

TEST(AgentExec, LayersTheEnvironment) {
  auto settings = Harness::default_settings();
  settings.environment.set("A", "agent").value();
  settings.environment.set("AB", "kept").value();
  Harness harness(std::move(settings));
  auto request = argv_request({"env"});
  request.env = {{"A", "mine"}, {"NEW", "x=y"}};
  auto call = harness.client->exec(request);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->out, "PATH=/usr/bin:/bin\nA=mine\nAB=kept\nNEW=x=y\n");
  request.clear_env = true;
  request.argv = {"/usr/bin/env"};
  call = harness.client->exec(request);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->out, "A=mine\nNEW=x=y\n");
}

TEST(AgentExec, RunsInTheWorkdirAndFindsRelativePrograms) {
  Harness harness;
  auto request = shell_request("pwd");
  request.workdir = "/usr/bin";
  auto call = harness.client->exec(request);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->out, "/usr/bin\n");
  request = argv_request({"./true"});
  request.workdir = "/usr/bin";
  call = harness.client->exec(request);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_TRUE(call->ok());
}

TEST(AgentExec, FeedsStdinUntilFin) {
  Harness harness;
  auto request = shell_request("cat | md5sum; echo done");
  request.stdin_open = true;
  const auto call = harness.client->exec(request);
  std::string input(5 << 20, 'x');   // more than the credit and the pipe
  call->feed(input);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->out, "4f08eef4096726bff1125e1b1b734644  -\ndone\n");
}

TEST(AgentExec, StdinIsEmptyUnlessAskedFor) {
  Harness harness;
  EXPECT_EQ(harness.run("cat; echo $?")->out, "0\n");
}

TEST(AgentExec, DropsInputNobodyReads) {
  Harness harness;
  auto request = shell_request("exec <&-; trap 'echo done; exit' USR1; echo ready; while :; do sleep 0.02; done");
  request.stdin_open = true;
  const auto call = harness.client->exec(request);
  call->feed(std::string(4 << 20, 'x'));
  EXPECT_TRUE(harness.run_until([&] { return call->input.empty() && call->out == "ready\n"; }));
  call->control(SIGUSR1);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->out, "ready\ndone\n");
}

TEST(AgentExec, MergesStderrInOrder) {
  Harness harness;
  auto request = shell_request("echo 1; echo 2 >&2; echo 3");
  request.merge_stderr = true;
  const auto call = harness.client->exec(request);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->out, "1\n2\n3\n");
  EXPECT_EQ(call->err, "");
}

TEST(AgentExec, BlocksTheProgramWhileNobodyReadsAndLosesNothing) {
  Harness harness;
  auto request = shell_request("head -c 20000000 /dev/zero; echo finished >&2");
  const auto call = harness.client->exec(request);
  call->reading = false;
  ASSERT_TRUE(harness.run_until([&] { return call->received >= (1 << 20); }));
  EXPECT_FALSE(harness.run_until([&] { return call->received > (1 << 20) || !call->err.empty(); }, 200ms));
  // Meanwhile others are served.
  EXPECT_EQ(harness.run("echo alive")->out, "alive\n");
  call->resume();
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->out.size(), 20000000u);
  EXPECT_EQ(call->result().out_total, 20000000u);
  EXPECT_EQ(call->result().out_dropped, 0u);
}

TEST(AgentExec, DropsAndCountsOutputBeyondTheLimit) {
  Harness harness;
  auto request = shell_request("head -c 300000000 /dev/zero; head -c 5000 /dev/zero >&2");
  request.max_output = 100'000;
  const auto call = harness.client->exec(request);
  ASSERT_TRUE(harness.finish(call));
  const auto outcome = call->result();
  EXPECT_EQ(call->out.size(), 100'000u);
  EXPECT_EQ(outcome.out_total, 300'000'000u);
  EXPECT_EQ(outcome.out_dropped, 299'900'000u);
  EXPECT_EQ(outcome.err_total, 5000u);
  EXPECT_EQ(outcome.err_dropped, 0u);
}

TEST(AgentExec, KillsTheGroupAtTheTimeoutAndKeepsTheOutput) {
  Harness harness;
  auto request = shell_request("trap '' TERM INT HUP; echo before; sleep 60 & sleep 60");
  request.timeout_ms = 150;
  const auto call = harness.client->exec(request);
  const auto start = core::SteadyClock::now();
  ASSERT_TRUE(harness.finish(call));
  EXPECT_LT(core::SteadyClock::now() - start, 5s);
  EXPECT_EQ(call->out, "before\n");
  const auto outcome = call->result();
  EXPECT_EQ(outcome.cause, ExitCause::timed_out);
  EXPECT_EQ(outcome.signal, static_cast<std::uint32_t>(SIGKILL));
}

TEST(AgentExec, TimeoutReachesProcessesThatLeftSessionAndParent) {
  Harness harness;
  // One keeps its parent but not its session; one lost both: its parent ended, so that it became the agent's child.
  auto request = shell_request(
      "setsid sh -c 'echo $$; exec sleep 60' & "
      "(setsid sh -c 'echo $$; exec sleep 60' &) ; "
      "sleep 60");
  request.timeout_ms = 400;
  const auto call = harness.client->exec(request);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->result().cause, ExitCause::timed_out);
  long first = 0, second = 0;
  ASSERT_EQ(::sscanf(call->out.c_str(), "%ld %ld", &first, &second), 2) << call->out;
  EXPECT_TRUE(harness.run_until([&] { return !alive(first) && !alive(second); }, 5s));
}

TEST(AgentExec, TimeoutOfOneLeavesTheDaemonOfAnotherAlone) {
  Harness harness;
  const auto other = harness.run("(setsid sh -c 'echo $$; exec sleep 60 >/dev/null 2>&1 </dev/null' &)");
  ASSERT_TRUE(other->ok());
  long daemon = 0;
  ASSERT_EQ(::sscanf(other->out.c_str(), "%ld", &daemon), 1);
  auto request = shell_request("sleep 60");
  request.timeout_ms = 50;
  const auto call = harness.client->exec(request);
  ASSERT_TRUE(harness.finish(call));
  harness.run("true");
  EXPECT_TRUE(alive(daemon));
  ::kill(static_cast<pid_t>(daemon), SIGKILL);
}

TEST(AgentExec, BackgroundProcessThatHoldsOutputKeepsTheExecOpenUntilTheTimeout) {
  Harness harness;
  auto request = shell_request("sleep 60 & echo hi; exit 3");
  request.timeout_ms = 300;
  const auto call = harness.client->exec(request);
  ASSERT_TRUE(harness.run_until([&] { return call->out == "hi\n"; }));
  EXPECT_FALSE(call->end);
  ASSERT_TRUE(harness.finish(call, 5s));
  EXPECT_EQ(call->result().cause, ExitCause::exited);   // how the program itself ended
  EXPECT_EQ(call->result().exit_code, 3u);
}

TEST(AgentExec, BackgroundProcessWithItsOwnOutputSurvives) {
  Harness harness;
  const auto call = harness.run("sleep 60 >/dev/null 2>&1 & echo $!");
  ASSERT_TRUE(call->ok());
  const long pid = ::atol(call->out.c_str());
  EXPECT_TRUE(alive(pid));
  ::kill(static_cast<pid_t>(pid), SIGKILL);
}

TEST(AgentExec, CancelKillsEverythingAndSaysSo) {
  Harness harness;
  const auto call = harness.client->shell("trap '' TERM; (setsid sleep 60 &); yes");
  call->reading = false;
  ASSERT_TRUE(harness.run_until([&] { return call->received > 0; }));
  harness.client->session.cancel(call->id);
  call->resume();
  ASSERT_TRUE(harness.finish(call, 5s));
  EXPECT_EQ(call->result().cause, ExitCause::cancelled);
}

TEST(AgentExec, SignalsFromTheClientReachTheGroup) {
  Harness harness;
  auto call = harness.client->shell("trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.02; done");
  ASSERT_TRUE(harness.run_until([&] { return call->out == "ready\n"; }));
  call->control(SIGUSR1);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->out, "ready\ngot\n");
  EXPECT_EQ(call->result().exit_code, 5u);

  call = harness.client->shell("sleep 60");
  ASSERT_TRUE(harness.run_until([&] { return call->started(); }));
  call->control(SIGTERM);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->result().cause, ExitCause::cancelled);
  EXPECT_EQ(call->result().signal, static_cast<std::uint32_t>(SIGTERM));
}

TEST(AgentExec, StoppedProgramsDieToo) {
  Harness harness;
  auto request = shell_request("kill -STOP $$");
  request.timeout_ms = 100;
  const auto call = harness.client->exec(request);
  ASSERT_TRUE(harness.finish(call, 5s));
  EXPECT_EQ(call->result().cause, ExitCause::timed_out);
}

TEST(AgentExec, RunsManyAtOnce) {
  Harness harness;
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 200; ++i) calls.push_back(harness.client->shell("read x < /dev/null; echo " + std::to_string(i) + "; exit " + std::to_string(i % 100)));
  for (int i = 0; i < 200; ++i) {
    const auto& call = calls[static_cast<std::size_t>(i)];
    ASSERT_TRUE(harness.finish(call));
    EXPECT_EQ(call->out, std::to_string(i) + "\n");
    EXPECT_EQ(call->result().exit_code, static_cast<std::uint32_t>(i % 100));
  }
  EXPECT_TRUE(harness.run_until([&] { return harness.server->server().operations() == 0; }));
}

TEST(AgentExec, KillsWhatRunsWhenTheClientGoes) {
  Harness harness;
  const auto call = harness.client->shell("(setsid sleep 60 & echo $!); exec sleep 60");
  ASSERT_TRUE(harness.run_until([&] { return call->started() && !call->out.empty(); }));
  const long leader = call->pid(), strayed = ::atol(call->out.c_str());
  EXPECT_TRUE(alive(leader));
  harness.loop.unwatch(harness.socket.get());
  harness.socket.reset();
  EXPECT_TRUE(harness.run_until([&] { return harness.server_lost && !alive(leader) && !alive(strayed); }, 5s));
}

TEST(AgentExec, SameKeyRunsOnce) {
  char path[] = "/tmp/once-XXXXXX";
  core::UniqueFd file(::mkstemp(path));
  Harness harness;
  const auto request = shell_request(std::string("echo ran >> ") + path + "; sleep 0.1; echo output; exit 4");
  const auto first = harness.client->exec(request, "key-1");
  const auto attached = harness.client->exec(request, "key-1");
  ASSERT_TRUE(harness.finish(first));
  ASSERT_TRUE(harness.finish(attached));
  const auto replayed = harness.client->exec(request, "key-1");
  ASSERT_TRUE(harness.finish(replayed));
  for (const auto& call : {first, attached, replayed}) {
    EXPECT_EQ(call->out, "output\n");
    EXPECT_EQ(call->result().exit_code, 4u);
    EXPECT_EQ(call->pid(), first->pid());
  }
  struct stat info;
  ASSERT_EQ(::fstat(file.get(), &info), 0);
  EXPECT_EQ(info.st_size, 4);   // "ran\n" once

  const auto different = harness.client->exec(shell_request("true"), "key-1");
  ASSERT_TRUE(harness.finish(different));
  EXPECT_EQ(different->error().code(), ErrorCode::invalid_argument);
  ::unlink(path);
}

TEST(AgentExec, FailedStartLeavesTheKeyFree) {
  Harness harness;
  auto request = argv_request({"/no/such/program"});
  for (int i = 0; i < 2; ++i) {
    const auto call = harness.client->exec(request, "key-2");
    ASSERT_TRUE(harness.finish(call));
    EXPECT_EQ(call->error().code(), ErrorCode::not_found);
  }
}

TEST(AgentExec, ReplayCountsWhatItDidNotKeep) {
  Harness harness;
  const auto request = shell_request("head -c 200000 /dev/zero");
  const auto first = harness.client->exec(request, "key-3");
  ASSERT_TRUE(harness.finish(first));
  EXPECT_EQ(first->out.size(), 200000u);
  const auto again = harness.client->exec(request, "key-3");
  ASSERT_TRUE(harness.finish(again));
  const auto outcome = again->result();
  EXPECT_EQ(outcome.out_total, 200000u);
  EXPECT_EQ(again->out.size() + outcome.out_dropped, 200000u);
}

}  // namespace
}  // namespace sandbox::agent::testing
