#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <vector>

#include "harness.hpp"
#include "support/agent_process.hpp"
#include "support/eventually.hpp"

/// The real program, outside of any sandbox.
namespace sandbox::agent::testing {
namespace {

struct Running {
  explicit Running(std::vector<std::string> environment = {"PATH=/usr/bin:/bin", "HOME=/"})
      : process(sandbox::testing::AgentProcess::start(std::move(environment))) {
    if (!process) return;
    harness = std::make_unique<Harness>(Harness::NoServer{}, process->take_socket());
    harness->run_until([&] { return harness->client->hello.has_value(); });
  }
  std::unique_ptr<sandbox::testing::AgentProcess> process;
  std::unique_ptr<Harness> harness;
};

TEST(AgentProgram, SaysWhatItSeesOfItself) {
  Running agent;
  ASSERT_TRUE(agent.process) << "sandbox-agent is not in $SANDBOX_BIN_DIR";
  ASSERT_TRUE(agent.harness->client->hello);
  const auto& hello = *agent.harness->client->hello;
  EXPECT_TRUE(hello.software.starts_with("sandbox-agent/"));
  ASSERT_TRUE(hello.facts);
  const auto& facts = *hello.facts;
  EXPECT_EQ(facts.pid, static_cast<std::uint32_t>(agent.process->pid()));
  EXPECT_FALSE(facts.dumpable);
  EXPECT_EQ(facts.uid, ::getuid());
  EXPECT_FALSE(facts.mounts.empty());
  EXPECT_NE(std::find(facts.interfaces.begin(), facts.interfaces.end(), "lo"), facts.interfaces.end());
  char own[64]{};
  ASSERT_GT(::readlink("/proc/self/ns/net", own, sizeof own - 1), 0);
  EXPECT_NE(std::find(facts.namespaces.begin(), facts.namespaces.end(), protocol::KeyValue{"net", own}), facts.namespaces.end());
  // The control run of the probes: without a sandbox and with privileges, doors are open.
  if (::getuid() == 0) {
    EXPECT_NE(std::find(facts.open_doors.begin(), facts.open_doors.end(), "mount"), facts.open_doors.end());
  }
}

TEST(AgentProgram, HidesWhatTheLauncherTellsIt) {
  Running agent({"PATH=/usr/bin:/bin", "SANDBOX_OOM_FD=77", "KEPT=1"});
  ASSERT_TRUE(agent.process);
  const auto call = agent.harness->run("env | sort | grep -v ^_ | grep -v PWD");
  ASSERT_TRUE(call->ok());
  EXPECT_EQ(call->out, "KEPT=1\nPATH=/usr/bin:/bin\n");
}

TEST(AgentProgram, EndsWithItsClientAndTakesEverythingAlong) {
  Running agent;
  ASSERT_TRUE(agent.process);
  const auto call = agent.harness->client->shell("(setsid sleep 60 & echo $!); exec sleep 60");
  ASSERT_TRUE(agent.harness->run_until([&] { return call->started() && !call->out.empty(); }));
  const pid_t leader = static_cast<pid_t>(call->pid()), strayed = std::atoi(call->out.c_str());
  agent.harness->loop.unwatch(agent.harness->socket.get());
  agent.harness->socket.reset();
  EXPECT_TRUE(agent.process->wait_for_exit(20000));
  EXPECT_TRUE(WIFEXITED(agent.process->status()));
  const auto gone = [](pid_t pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    return !std::getline(stat, text) || text.find(") Z") != text.npos;
  };
  EXPECT_TRUE(agent.harness->run_until([&] { return gone(leader) && gone(strayed); }));
}

TEST(AgentProgram, ProgramsCannotReachTheAgent) {
  Running agent;
  ASSERT_TRUE(agent.process);
  if (::getuid() == 0) GTEST_SKIP() << "root with all capabilities may do anything; tests/integration looks from inside";
  EXPECT_NE(agent.harness->run("cat /proc/$PPID/environ")->result().exit_code, 0u);
}

TEST(AgentProgram, KeepsAnsweringWhenItCannotFork) {
  Running agent;
  ASSERT_TRUE(agent.process);
  // Descriptors run out first: three per exec. Every refusal is an error of its own, and what runs goes on.
  const rlimit few{64, 64};
  ASSERT_EQ(::prlimit(agent.process->pid(), RLIMIT_NOFILE, &few, nullptr), 0);
  std::vector<std::shared_ptr<Call>> calls;
  char go[] = "/tmp/sandbox-agent-go-XXXXXX";
  core::UniqueFd waiting(::mkstemp(go));
  ASSERT_TRUE(waiting);
  // Those that run go on until one more could not.
  for (int i = 0; i < 60; ++i) calls.push_back(agent.harness->client->shell(std::string("while [ -e ") + go + " ]; do sleep 0.05; done; echo ok"));
  const bool full = agent.harness->run_until([&] { return std::ranges::any_of(calls, [](const auto& call) { return call->end && !call->ok(); }); });
  ASSERT_EQ(::unlink(go), 0);
  EXPECT_TRUE(full) << "nothing was refused";
  int refused = 0, ran = 0;
  for (const auto& call : calls) {
    ASSERT_TRUE(agent.harness->finish(call));
    if (call->ok()) {
      EXPECT_EQ(call->out, "ok\n");
      ++ran;
    } else {
      EXPECT_EQ(call->error().code(), ErrorCode::resource_exhausted) << call->error().to_string();
      ++refused;
    }
  }
  EXPECT_GT(ran, 0);
  EXPECT_GT(refused, 0);
  EXPECT_EQ(agent.harness->run("echo again")->out, "again\n");
}

/// Proportional share of memory, KiB: "Pss", or of what is no file "Pss_Anon"; 0 when it may not be read or this kernel does not say.
long share_kib(pid_t process, const std::string& of) {
  std::ifstream rollup("/proc/" + std::to_string(process) + "/smaps_rollup");
  std::string word;
  long share = 0;
  while (share == 0 && rollup >> word)
    if (word == of + ":") rollup >> share;
  return share;
}

TEST(AgentProgram, IdlesInLittleMemory) {
  // Sixteen, as in a pool: program text is shared between all agents of a host. What one of them alone has mapped of it counts as its
  // own, 64 KiB at a time, so text is looked at on average, and what each has for itself alone.
  std::vector<std::unique_ptr<Running>> agents;
  for (int i = 0; i < 16; ++i) {
    agents.push_back(std::make_unique<Running>());
    ASSERT_TRUE(agents.back()->process);
    // Each has worked before it idles: started a program, moved output, given its buffers back.
    ASSERT_TRUE(agents.back()->harness->run("head -c 3000000 /dev/zero")->ok());
  }
  if (share_kib(agents.front()->process->pid(), "Pss") == 0) GTEST_SKIP() << "no permission to read smaps_rollup";
  // The result of its program may come before its buffers were given back.
  for (const auto& agent : agents) {
    long anonymous = 0;
    EXPECT_TRUE(sandbox::testing::eventually([&] { return (anonymous = share_kib(agent->process->pid(), "Pss_Anon")) <= 128; })) << anonymous << " KiB";
  }
  long average = 0;
  EXPECT_TRUE(sandbox::testing::eventually([&] {
    average = 0;
    for (const auto& agent : agents) average += share_kib(agent->process->pid(), "Pss");
    return (average /= static_cast<long>(agents.size())) <= 192;
  })) << average << " KiB";
  RecordProperty("pss_kib", static_cast<int>(average));
  std::printf("idle agent: %ld KiB PSS\n", average);
}

}  // namespace
}  // namespace sandbox::agent::testing
