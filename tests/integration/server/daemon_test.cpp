#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include <sandbox/prove.hpp>

#include "core/text.hpp"
#include "core/unique_fd.hpp"
#include "http/client.hpp"
#include "raw_websocket.hpp"
#include "rest/rest.hpp"
#include "runtime/proof.hpp"
#include "support/eventually.hpp"
#include "support/live_runtime.hpp"

// The real program: how it starts, reloads, stops, and what it finds again after it was killed.
extern char** environ;

namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;

std::string bin(const std::string& name) { return std::string(std::getenv("SANDBOX_BIN_DIR")) + "/" + name; }

struct Outcome {
  int status = -1;  ///< exit code
  std::string output;
};

/// Runs the program to its end.
Outcome run(const std::vector<std::string>& arguments) {
  int pipe_fds[2];
  EXPECT_EQ(::pipe2(pipe_fds, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
  posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 2);
  std::vector<char*> argv;
  std::string program = bin("sandboxd");
  argv.push_back(program.data());
  std::vector<std::string> copies = arguments;
  for (std::string& one : copies) argv.push_back(one.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  EXPECT_EQ(::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_fds[1]);
  Outcome outcome;
  char buffer[4096];
  for (ssize_t got; (got = ::read(pipe_fds[0], buffer, sizeof buffer)) > 0;) outcome.output.append(buffer, static_cast<std::size_t>(got));
  ::close(pipe_fds[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return outcome;
}

class Sandboxd : public ::testing::Test {
 protected:
  void SetUp() override { write_config(); }
  void TearDown() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGTERM);
      wait_exit();
    }
  }

  void write_config(const std::string& more = {}, const std::string& of_server = {}) {
    std::ofstream out(config_path());
    out << "[server]\nsocket = \"" << socket() << "\"\ndata_dir = \"" << directory_.path() << "/data\"\n" << of_server
        << "[limits]\ncreate_rate_limit = 0\nmax_memory = \"64g\"\nmax_cpu = 1000.0\nmax_sandboxes = 60\n" << more
        << "\n[pool]\nmin_base = 1\n[pool.base.default]\nimage = \"host\"\nmemory = \"64m\"\nstorage = \"16m\"\nnetwork = \"none\"\ncpu = 0.5\n";
  }
  std::string config_path() const { return directory_.path() + "/sandboxd.toml"; }
  std::string socket() const { return directory_.path() + "/d.sock"; }
  std::string log_path() const { return directory_.path() + "/log"; }
  std::string log() const {
    std::ifstream in(log_path());
    return std::string(std::istreambuf_iterator<char>(in), {});
  }

  /// Starts it and waits until it answers.
  void start() {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, log_path().c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    std::string program = bin("sandboxd"), flag = "--config", path = config_path();
    char* argv[] = {program.data(), flag.data(), path.data(), nullptr};
    ASSERT_EQ(::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    client_ = http::Client::make(http::Endpoint::parse(socket()).value()).value();
    const auto until = core::SteadyClock::now() + 30s;
    for (;;) {
      http::Request request;
      request.target = "/health";
      auto response = client_->request(request, core::SteadyClock::now() + 5s);
      if (response && response->status == 200) return;
      response.ignore("not up yet");
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        if (log().find("unsupported") != std::string::npos) GTEST_SKIP() << log();
        FAIL() << log();
      }
      ASSERT_LT(core::SteadyClock::now(), until) << log();
      std::this_thread::sleep_for(10ms);
    }
  }
  int wait_exit() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  void kill_hard() {
    ::kill(pid_, SIGKILL);
    EXPECT_EQ(wait_exit(), -SIGKILL);
    client_.reset();
  }
  http::Response call(const std::string& method, const std::string& target, std::string body = {}) {
    http::Request request;
    request.method = method;
    request.target = target;
    request.body = std::move(body);
    auto response = client_->request(request, core::SteadyClock::now() + 60s);
    if (response) return *std::move(response);
    ADD_FAILURE() << method << " " << target << ": " << response.error().to_string();
    return http::Response{0, {}, {}};
  }
  std::string create(const std::string& body) {
    const auto response = call("POST", "/sandboxes", body);
    EXPECT_EQ(response.status, 201u) << response.body;
    return response.status == 201 ? rest::read_sandbox(response.body).value().id : "";
  }

  StateDirectory directory_;
  pid_t pid_ = 0;
  std::unique_ptr<http::Client> client_;
};

TEST_F(Sandboxd, SaysWhatIsWrongWithItsConfiguration) {
  EXPECT_EQ(run({"--config", config_path(), "--check"}).status, 0);
  write_config("max_ttl = \"soon\"\n");
  const Outcome bad = run({"--config", config_path(), "--check"});
  EXPECT_EQ(bad.status, 1);
  EXPECT_NE(bad.output.find("sandboxd.toml:"), std::string::npos) << bad.output;
  EXPECT_NE(bad.output.find("max_ttl"), std::string::npos) << bad.output;
  EXPECT_EQ(run({"--version"}).status, 0);
  EXPECT_EQ(run({"--help"}).status, 0);
  EXPECT_NE(run({"--nonsense"}).status, 0);
}

TEST_F(Sandboxd, PrintsAConfigurationItCanRead) {
  write_config("tunnel_port_min = 1\ntunnel_port_max = 2\n");
  const Outcome printed = run({"--config", config_path(), "--print-config"});
  ASSERT_EQ(printed.status, 0) << printed.output;
  const std::string again = directory_.path() + "/again.toml";
  std::ofstream(again) << printed.output;
  const Outcome twice = run({"--config", again, "--print-config"});
  EXPECT_EQ(twice.status, 0) << twice.output;
  EXPECT_TRUE(twice.output.ends_with(printed.output)) << twice.output;
}

TEST_F(Sandboxd, RefusesToBeReachableByAnybody) {
  std::ofstream(config_path(), std::ios::app) << "";
  std::ofstream out(config_path());
  out << "[server]\nsocket = \"" << socket() << "\"\ndata_dir = \"" << directory_.path() << "/data\"\ntcp = \"0.0.0.0:0\"\n";
  out.close();
  const Outcome refused = run({"--config", config_path()});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.output.find("allow_unauthenticated"), std::string::npos) << refused.output;
}

TEST_F(Sandboxd, StopsTidily) {
  start();
  if (IsSkipped()) return;
  create("{}");
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(wait_exit(), 0) << log();
  EXPECT_FALSE(std::filesystem::exists(socket()));
}

TEST_F(Sandboxd, TakesUpAFileThatChangedUnlessItIsBad) {
  start();
  if (IsSkipped()) return;
  EXPECT_EQ(call("POST", "/sandboxes", R"({"profile":"extra"})").status, 404u);
  const std::string next = config_path() + ".next";
  write_config();
  std::ofstream(config_path(), std::ios::app) << "[pool.base.extra]\nimage = \"host\"\nmemory = \"64m\"\nstorage = \"16m\"\nnetwork = \"none\"\n";
  std::filesystem::rename(config_path(), next);
  std::filesystem::rename(next, config_path());
  EXPECT_TRUE(eventually([&] { return call("GET", "/profiles").body.find("\"extra\"") != std::string::npos; })) << log();
  std::ofstream(config_path()) << "[limits\n";
  EXPECT_TRUE(eventually([&] { return log().find("configuration not taken up") != std::string::npos; })) << log();
  EXPECT_NE(call("GET", "/profiles").body.find("\"extra\""), std::string::npos);
  write_config();
  ::kill(pid_, SIGHUP);
  EXPECT_TRUE(eventually([&] { return call("GET", "/profiles").body.find("\"extra\"") == std::string::npos; })) << log();
}

TEST_F(Sandboxd, KilledItFindsItsSandboxesAgain) {
  start();
  if (IsSkipped()) return;
  const std::string kept = create(R"({"ttl":600,"labels":{"who":"kept"}})");
  const std::string brief = create(R"({"ttl":1})");
  const std::string busy = create(R"({"ttl":600})");
  std::vector<std::string> crowd;
  for (int i = 0; i < 8; ++i) crowd.push_back(create(R"({"ttl":600})"));
  {
    RawWebSocket ws(socket(), "/sandboxes/" + brief + "/ws");
    ASSERT_EQ(ws.status(), 101u);
    ws.close(1000);
  }
  ASSERT_TRUE(eventually([&] { return call("GET", "/sandboxes/" + brief).body.find("disconnected") != std::string::npos; }));
  RawWebSocket ws(socket(), "/sandboxes/" + busy + "/ws");
  ASSERT_EQ(ws.status(), 101u);
  ws.text(R"({"jsonrpc":"2.0","id":1,"method":"process.exec","params":{"command":"echo before > /root/note; echo ok"}})");
  ASSERT_NE(ws.find("\"id\":1").find("ok"), std::string::npos);
  // Goes on while nobody is there, and says something then.
  ws.text(R"({"jsonrpc":"2.0","id":2,"method":"process.spawn","params":{"command":"while ! test -e /tmp/go; do sleep 0.05; done; echo finished; sleep 600"}})");
  ASSERT_NE(ws.find("\"id\":2").find("result"), std::string::npos);
  ws.text(R"({"jsonrpc":"2.0","id":3,"method":"process.spawn","params":{"command":"sleep 1; touch /tmp/go"}})");
  ASSERT_NE(ws.find("\"id\":3").find("result"), std::string::npos);
  // What the store commits in the background; a moment later is what a kill finds.
  std::this_thread::sleep_for(100ms);
  kill_hard();
  std::this_thread::sleep_for(1500ms);
  start();

  EXPECT_TRUE(eventually([&] { return call("GET", "/sandboxes/" + brief).status == 404; })) << "its ttl ran out meanwhile";
  const auto listed = rest::read_sandboxes(call("GET", "/sandboxes?label=who:kept").body).value();
  ASSERT_EQ(listed.size(), 1u) << log();
  EXPECT_EQ(listed[0].id, kept);
  EXPECT_EQ(listed[0].state, SandboxState::running);
  EXPECT_EQ(listed[0].ttl, 600s);
  for (const std::string& id : crowd) EXPECT_EQ(call("GET", "/sandboxes/" + id).status, 200u) << id;

  RawWebSocket again(socket(), "/sandboxes/" + busy + "/ws");
  ASSERT_EQ(again.status(), 101u);
  EXPECT_FALSE(again.find("session.resumed").empty()) << log();
  // "finished\n" in base64
  EXPECT_FALSE(again.find("ZmluaXNoZWQK").empty()) << "what the process said while no daemon was there";
  again.text(R"({"jsonrpc":"2.0","id":4,"method":"process.exec","params":{"command":"cat /root/note"}})");
  EXPECT_NE(again.find("\"id\":4").find("before"), std::string::npos);
  // It is as good as any other.
  EXPECT_EQ(call("DELETE", "/sandboxes/" + kept).status, 204u);
  create("{}");
}

/// The agent, as this host sees it, above the program with `argument`; 0: there is none.
pid_t agent_above(const std::string& argument) {
  const auto read = [](const std::filesystem::path& path) {
    std::ifstream in(path);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", gone)) {
    const auto number = core::parse_number<pid_t>(entry.path().filename().string());
    if (!number || read(entry.path() / "cmdline").find(argument) == std::string::npos) continue;
    for (pid_t at = *number; at > 1;) {
      const std::string directory = "/proc/" + std::to_string(at);
      if (read(directory + "/cmdline").starts_with("sandbox-agent")) return at;
      const std::string status = read(directory + "/status");
      const auto parent = status.find("\nPPid:\t");
      if (parent == std::string::npos) break;
      at = std::atoi(status.c_str() + parent + 7);
    }
  }
  return 0;
}

TEST_F(Sandboxd, OneThatEndsUnderANewNodeNameIsGone) {
  write_config({}, "node_id = \"one\"\n");
  start();
  if (IsSkipped()) return;
  const std::string id = create(R"({"ttl":600})");
  ASSERT_TRUE(id.starts_with("sbx-one-")) << id;
  const std::string seconds = "9" + std::to_string(::getpid()) + ".25";
  {
    RawWebSocket ws(socket(), "/sandboxes/" + id + "/ws");
    ASSERT_EQ(ws.status(), 101u);
    ws.text(R"({"jsonrpc":"2.0","id":1,"method":"process.spawn","params":{"command":"sleep )" + seconds + R"("}})");
    ASSERT_NE(ws.find("\"id\":1").find("result"), std::string::npos);
  }
  ASSERT_TRUE(eventually([&] { return agent_above(seconds) != 0; }));
  kill_hard();
  write_config({}, "node_id = \"two\"\n");
  start();
  EXPECT_EQ(call("GET", "/sandboxes/" + id).status, 200u) << "it keeps its id\n" << log();
  const pid_t agent = agent_above(seconds);
  ASSERT_GT(agent, 1);
  ::kill(agent, SIGKILL);
  EXPECT_TRUE(eventually([&] { return call("GET", "/sandboxes/" + id).status == 404; })) << log();
  EXPECT_NE(call("GET", "/events/history").body.find("sandbox.lost"), std::string::npos);
}

class RequiredProof : public Sandboxd {
 protected:
  std::string proof() const { return directory_.path() + "/proof.json"; }
  void SetUp() override { write_config({}, "require_proof = \"" + proof() + "\"\n"); }
  void expect_refused(const std::string& words) {
    const Outcome refused = run({"--config", config_path()});
    EXPECT_EQ(refused.status, 1);
    EXPECT_NE(refused.output.find(words), std::string::npos) << refused.output;
    EXPECT_NE(refused.output.find("run `sbx prove --report " + proof() + "`"), std::string::npos) << refused.output;
    EXPECT_FALSE(std::filesystem::exists(socket())) << "nobody was served";
  }
};

TEST_F(RequiredProof, TheReportIsReadOnce) {
  // One that passed, for another host: it takes the whole way to refuse it.
  ProveReport report;
  report.backend = "native";
  report.set = "quick";
  report.policy = {"another host"};
  report.policy_sha256 = runtime::policy_digest(report.policy);
  report.checks.push_back({"identity.user_namespaces", CheckStatus::passed, "tried", "expected", "seen", {}, {}});
  std::ofstream(proof()) << to_json(report);
  ASSERT_EQ(::chmod(proof().c_str(), 0600), 0);
  const core::UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  ASSERT_GE(::inotify_add_watch(watch.get(), proof().c_str(), IN_OPEN | IN_CLOSE), 0);
  expect_refused("it is not for this build, host and policy");
  char events[4096];
  // Opened and closed, once. (Without the closing in between two openings would be told as one event.)
  EXPECT_EQ(::read(watch.get(), events, sizeof events), static_cast<ssize_t>(2 * sizeof(inotify_event)));
}

TEST_F(RequiredProof, WithoutAReportThatFitsNothingStarts) {
  expect_refused("there is none");
  const Outcome checked = run({"--config", config_path(), "--check"});
  EXPECT_EQ(checked.status, 1);
  EXPECT_NE(checked.output.find("server.require_proof"), std::string::npos) << checked.output;
  EXPECT_NE(checked.output.find("there is none"), std::string::npos) << checked.output;
  EXPECT_NE(checked.output.find("sbx prove"), std::string::npos) << checked.output;

  write_config({}, "require_proof = \"proof.json\"\n");
  const Outcome relative = run({"--config", config_path(), "--check"});
  EXPECT_EQ(relative.status, 1);
  EXPECT_NE(relative.output.find("must be an absolute path"), std::string::npos) << relative.output;
}

}  // namespace
}  // namespace sandbox::testing
