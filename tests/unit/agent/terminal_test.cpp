#include <gtest/gtest.h>

#include <algorithm>

#include "harness.hpp"

namespace sandbox::agent::testing {
namespace {

using protocol::ExitCause;

protocol::ExecRequest terminal_request(std::string line) {
  auto request = shell_request(std::move(line));
  request.pty = protocol::WindowSize{30, 100};
  return request;
}

/// Terminals end lines with CR LF.
std::string lines(std::string text) {
  std::erase(text, '\r');
  return text;
}

TEST(AgentTerminal, HasTheSizeAndNameAskedFor) {
  Harness harness;
  const auto call = harness.client->exec(terminal_request("stty size; echo $TERM; tty; echo err >&2; test -t 0 && exit 9"));
  ASSERT_TRUE(harness.finish(call));
  if (!call->ok()) GTEST_SKIP() << "no devpts here: " << call->error().message();
  const std::string out = lines(call->out);
  EXPECT_TRUE(out.starts_with("30 100\nxterm-256color\n/dev/pts/")) << out;
  EXPECT_TRUE(out.ends_with("err\n")) << out;   // one stream for both
  EXPECT_EQ(call->err, "");
  EXPECT_EQ(call->result().exit_code, 9u);
}

TEST(AgentTerminal, Resizes) {
  Harness harness;
  const auto call = harness.client->exec(terminal_request("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.02; done"));
  if (!harness.run_until([&] { return lines(call->out) == "ready\n" || call->end; }) || call->end) GTEST_SKIP() << "no devpts";
  protocol::ExecControl control;
  control.resize = protocol::WindowSize{50, 132};
  call->session->send_message(call->id, protocol::encode(control)).value();
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(lines(call->out), "ready\n50 132\n");
}

TEST(AgentTerminal, CarriesKeystrokesAndControlCharacters) {
  Harness harness;
  auto request = terminal_request("read line; echo \"got $line\"; trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.02; done");
  request.stdin_open = true;
  const auto call = harness.client->exec(request);
  call->feed("hello\n", false);
  if (!harness.run_until([&] { return lines(call->out).ends_with("ready\n") || call->end; }) || call->end) GTEST_SKIP() << "no devpts";
  EXPECT_NE(lines(call->out).find("got hello\n"), std::string::npos);
  call->feed("\x03", false);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_NE(call->out.find("interrupted"), std::string::npos);
  EXPECT_EQ(call->result().exit_code, 3u);
}

TEST(AgentTerminal, EndsWithItsLeaderAndKeepsTheLastOutput) {
  Harness harness;
  // The background process ignores the hang-up and keeps the terminal open; a login session would not wait for it.
  const auto call = harness.client->exec(terminal_request("trap '' HUP; sleep 5 & head -c 50000 /dev/zero | tr '\\0' x; echo end"));
  const auto start = core::SteadyClock::now();
  ASSERT_TRUE(harness.finish(call));
  if (!call->ok()) GTEST_SKIP() << "no devpts";
  EXPECT_LT(core::SteadyClock::now() - start, 4s);
  EXPECT_EQ(std::count(call->out.begin(), call->out.end(), 'x'), 50000);
  EXPECT_TRUE(lines(call->out).ends_with("end\n"));
}

TEST(AgentTerminal, CancelEndsAnInteractiveShell) {
  Harness harness;
  auto request = argv_request({"/bin/sh", "-i"});
  request.pty = protocol::WindowSize{};
  request.stdin_open = true;
  const auto call = harness.client->exec(request);
  if (!harness.run_until([&] { return !call->out.empty() || call->end; }) || call->end) GTEST_SKIP() << "no devpts";
  harness.client->session.cancel(call->id);
  ASSERT_TRUE(harness.finish(call));
  EXPECT_EQ(call->result().cause, ExitCause::cancelled);
}

}  // namespace
}  // namespace sandbox::agent::testing
