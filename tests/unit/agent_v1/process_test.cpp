#include <signal.h>

#include "unit/agent_v1/harness.hpp"

namespace sandbox::agent::v1::testing {
namespace {

using V1Process = V1;

TEST_F(V1Process, ExecAnswersOutputAndExitCodeInBothSpellings) {
  const auto result = client->call("process.exec", R"({"command":"echo hello; echo oops >&2; exit 3"})");
  EXPECT_EQ(result.find("stdout")->text, "hello\n");
  EXPECT_EQ(result.find("stderr")->text, "oops\n");
  EXPECT_EQ(result.find("exit_code")->integer, 3);
  EXPECT_EQ(result.find("exitCode")->integer, 3);
  EXPECT_EQ(result.find("stdout_truncated"), nullptr);
}

TEST_F(V1Process, ExecPassesVariablesAsTheyAre) {
  client->call("env.set", R"({"key":"STORED","value":"x"})");
  const auto result = client->call("process.exec", R"({"command":"echo \"$A|$STORED|$PATH\"; pwd","env":{"A":"$HOME `id`"}})");
  EXPECT_EQ(result.find("stdout")->text, "$HOME `id`||/usr/bin:/bin\n" + root.path + "\n");
}

TEST_F(V1Process, ExecSaysWhatIsWrong) {
  EXPECT_EQ(client->refusal("process.exec"), std::pair(std::int64_t{-32000}, std::string("command is required")));
  EXPECT_EQ(client->refusal("process.exec", R"({"command":5})").second, "invalid params: command must be a string");
  EXPECT_EQ(client->refusal("process.exec", R"({"command":"x","cwd":"/nope"})").second, "exec: chdir /nope: no such file or directory");
  EXPECT_EQ(client->refusal("process.stream", R"({"command":"x","cwd":"/nope"})").second, "start: chdir /nope: no such file or directory");
  EXPECT_EQ(client->refusal("process.nothing").first, -32601);
  EXPECT_EQ(client->refusal("process.nothing").second, "method not found: process.nothing");
}

TEST_F(V1Process, KilledBySignalIsMinusOne) {
  EXPECT_EQ(client->call("process.exec", R"({"command":"kill -9 $$"})").find("exit_code")->integer, -1);
}

TEST_F(V1Process, TimeoutsCountWholeAndFractionalSeconds) {
  EXPECT_EQ(client->refusal("process.exec", R"({"command":"sleep 30","timeout":1})").second, "command timed out after 1s");
  EXPECT_EQ(client->refusal("process.exec", R"({"command":"sleep 30","timeout":0.2})").second, "command timed out after 200ms");
  EXPECT_EQ(client->refusal("process.stream", R"({"command":"sleep 30","timeout":0.2})").second, "command timed out after 200ms");
}

TEST_F(V1Process, ABackgroundChildThatKeepsTheOutputDoesNotOutliveTheTimeout) {
  EXPECT_EQ(client->refusal("process.exec", R"({"command":"sleep 30 & echo started","timeout":0.3})").second, "command timed out after 300ms");
}

TEST_F(V1Process, ABackgroundChildWithRedirectedOutputSurvives) {
  const auto result = client->call("process.exec", R"({"command":"sleep 60 >/dev/null 2>&1 & echo $!"})");
  const pid_t pid = static_cast<pid_t>(std::stol(result.find("stdout")->text));
  client->call("process.exec", R"({"command":"true"})");
  EXPECT_EQ(::kill(pid, 0), 0);
  ::kill(pid, SIGKILL);
}

TEST_F(V1Process, OutputThatIsNotTextIsReplacedByteByByte) {
  const auto result = client->call("process.exec", R"({"command":"printf 'a\\377\\376b\\303'"})");
  EXPECT_EQ(result.find("stdout")->text, "a\xef\xbf\xbd\xef\xbf\xbd" "b\xef\xbf\xbd");
}

TEST_F(V1Process, OutputIsCutSoThatTheAnswerFits) {
  const auto result = client->call("process.exec", R"({"command":"head -c 30000000 /dev/zero; head -c 100 /dev/zero | tr '\\0' e >&2"})");
  EXPECT_LT(result.find("stdout")->text.size(), 2u << 20);   // six bytes each in JSON
  EXPECT_GT(result.find("stdout")->text.size(), 1u << 20);
  EXPECT_EQ(result.find("stderr")->text.size(), 100u);
  EXPECT_TRUE(result.find("stdout_truncated")->boolean);
  EXPECT_EQ(result.find("stderr_truncated"), nullptr);
  EXPECT_EQ(client->call("process.exec", R"({"command":"echo after"})").find("stdout")->text, "after\n");
}

TEST_F(V1Process, RequestsRunInParallel) {
  const int slow = client->request("process.exec", R"({"command":"sleep 0.5; echo slow"})");
  const int fast = client->request("process.exec", R"({"command":"echo fast"})");
  EXPECT_EQ(client->answer(fast).find("result")->find("stdout")->text, "fast\n");
  EXPECT_TRUE(client->messages.empty());
  EXPECT_EQ(client->answer(slow).find("result")->find("stdout")->text, "slow\n");
}

TEST_F(V1Process, StreamTellsAllOutputBeforeItsAnswer) {
  const int id = client->request("process.stream", R"({"command":"printf '\\303'; sleep 0.1; printf '\\251'; head -c 100000 /dev/zero | tr '\\0' x; echo e >&2; exit 4"})");
  EXPECT_EQ(client->answer(id).find("result")->find("exit_code")->integer, 4);
  std::string out, err;
  for (const auto& message : client->messages) {
    ASSERT_EQ(message.json.find("method")->text, "process.output");
    const auto* params = message.json.find("params");
    const auto& data = params->find("data")->text;
    EXPECT_LE(data.size(), 8192u);
    (params->find("stream")->text == "stdout" ? out : err) += data;
  }
  EXPECT_EQ(out, "\xc3\xa9" + std::string(100000, 'x'));
  EXPECT_EQ(err, "e\n");
}

TEST_F(V1Process, SpawnTellsOutputAndItsEndLast) {
  const auto pid = client->call("process.spawn", R"({"command":"cat; echo bye >&2; exit 5"})").find("pid")->integer;
  EXPECT_GT(pid, 0);
  const std::string named = "{\"pid\":" + std::to_string(pid);
  client->call("process.stdin", named + R"(,"data":"aGk="})");
  EXPECT_EQ(client->notification("process.stdout").find("data")->text, "aGk=");
  client->call("process.stdin", named + R"(,"data":"","eof":true})");
  const auto exit = client->notification("process.exit");
  EXPECT_EQ(exit.find("pid")->integer, pid);
  EXPECT_EQ(exit.find("exit_code")->integer, 5);
  ASSERT_EQ(client->messages.size(), 1u);
  EXPECT_EQ(client->messages[0].json.find("method")->text, "process.stderr");
  EXPECT_EQ(client->refusal("process.stdin", named + R"(,"data":"aGk="})").second, "no such process: " + std::to_string(pid));
}

TEST_F(V1Process, SpawnedOutputIsCutOnce) {
  client->call("process.spawn", R"({"command":"head -c 12000000 /dev/zero"})");
  ASSERT_TRUE(harness.run_until([&] { return !client->messages.empty() && client->messages.back().json.find("method")->text == "process.exit"; }));
  std::size_t bytes = 0, cuts = 0;
  for (const auto& message : client->messages) {
    const auto& method = message.json.find("method")->text;
    const auto* params = message.json.find("params");
    if (method == "process.stdout") {
      const auto data = from_base64(params->find("data")->text);
      EXPECT_LE(data->size(), 4096u);
      bytes += data->size();
    } else if (method == "process.output_truncated") {
      ++cuts;
      EXPECT_EQ(params->find("limit")->integer, 10485760);
      EXPECT_EQ(params->find("stream")->text, "process.stdout");
    }
  }
  EXPECT_EQ(bytes, 10485760u);
  EXPECT_EQ(cuts, 1u);
}

TEST_F(V1Process, SignalsReachTheGroup) {
  for (const char* signal : {"SIGTERM", "term", "SIGKILL", "kill", "SIGINT", "int", "SIGHUP", "hup"}) {
    const auto pid = client->call("process.spawn", R"({"command":"sleep 60; true"})").find("pid")->integer;
    // Again and again: a shell that is about to fork may take note of a signal and forget it.
    const auto ended = [&] { return !client->messages.empty() && client->messages.back().json.find("method"); };
    for (int i = 0; i < 100 && !ended(); ++i) {
      client->answer(client->request("process.signal", "{\"pid\":" + std::to_string(pid) + ",\"signal\":\"" + signal + "\"}"));
      harness.run_until(ended, 100ms);
    }
    EXPECT_EQ(client->notification("process.exit").find("exit_code")->integer, -1) << signal;
  }
  EXPECT_EQ(client->refusal("process.signal", R"({"pid":1,"signal":"SIGTERM"})").second, "no such process: 1");
  const auto pid = client->call("process.spawn", R"({"command":"sleep 60"})").find("pid")->integer;
  EXPECT_EQ(client->refusal("process.signal", "{\"pid\":" + std::to_string(pid) + R"(,"signal":"SIGUSR1"})").second, "unsupported signal: SIGUSR1");
  client->call("process.exec", "{\"pid\":" + std::to_string(pid) + R"(,"signal":"SIGKILL"})");
  EXPECT_EQ(client->notification("process.exit").find("pid")->integer, pid);
}

TEST_F(V1Process, ATerminalTakesInputAndSizes) {
  const auto pid = client->call("process.pty", R"({"command":"stty size; read line; stty size; read other; echo got $line $other","cols":100,"rows":30})").find("pid")->integer;
  std::string shown;
  const auto shows = [&](std::string_view text) {
    return harness.run_until([&] {
      for (const auto& piece : client->take_binary()) shown += piece;
      return shown.find(text) != shown.npos;
    });
  };
  ASSERT_TRUE(shows("30 100")) << shown;
  client->call("process.resize", "{\"pid\":" + std::to_string(pid) + R"(,"cols":50,"rows":20})");
  std::string input(4, '\0');
  for (int i = 0; i < 4; ++i) input[static_cast<std::size_t>(i)] = static_cast<char>(pid >> (24 - 8 * i) & 0xff);
  client->binary("x");   // too short, and of no process: ignored
  client->binary(std::string("\x7f\xff\xff\xff", 4) + "lost\n");
  client->binary(input + "one\n");
  ASSERT_TRUE(shows("20 50")) << shown;
  // What an SDK's Write sends: a notification of the method that makes terminals.
  client->text("{\"jsonrpc\":\"2.0\",\"method\":\"process.pty\",\"params\":{\"pid\":" + std::to_string(pid) + ",\"data\":\"dHdvCg==\"}}");
  ASSERT_TRUE(shows("got one two")) << shown;
  EXPECT_EQ(client->notification("process.exit").find("exit_code")->integer, 0);
  EXPECT_EQ(client->refusal("process.resize", R"({"pid":1,"cols":1,"rows":1})").second, "no such pty process: 1");
  EXPECT_EQ(client->refusal("process.resize", R"({"pid":1,"cols":0,"rows":1})").second, "cols and rows are required");
}

TEST_F(V1Process, AClientThatDoesNotReadPausesPrograms) {
  client->stream().reading = false;
  client->request("process.stream", R"({"command":"i=0; while [ $i -lt 160 ]; do head -c 65536 /dev/zero | tr '\\0' x; echo $i >progress; i=$((i+1)); done"})");
  const auto progress = [&] { return Root::content(root / "progress"); };
  ASSERT_TRUE(harness.run_until([&] { return !progress().empty(); }));
  std::string before = progress();
  ASSERT_TRUE(harness.run_until([&] {
    // Stands still once every buffer on the way is full.
    const auto until = core::SteadyClock::now() + 300ms;
    while (core::SteadyClock::now() < until) harness.loop.turn(10ms);
    return std::exchange(before, progress()) == before && !before.empty() && before == progress();
  }));
  EXPECT_LT(std::stoi(before), 120);
  client->stream().resume();
  std::size_t bytes = 0;
  EXPECT_TRUE(harness.run_until([&] {
    while (!client->messages.empty() && client->messages.front().json.find("method")) {
      bytes += client->messages.front().json.find("params")->find("data")->text.size();
      client->messages.pop_front();
    }
    return !client->messages.empty();
  }, 60s));
  EXPECT_EQ(bytes, 160u * 65536);
}

}  // namespace
}  // namespace sandbox::agent::v1::testing
