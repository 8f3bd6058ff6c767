#pragma once

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <optional>
#include <string>

#include <sandbox/sandbox.hpp>

#include "driver/box.hpp"

namespace sandbox::api::test {

/// The real agent program, started as an ordinary process in a directory of its own. NOT isolated: tests here are about
/// the handles and the agent, and run only harmless commands.
class AgentBox final : public driver::Box {
 public:
  using Wrap = std::function<std::unique_ptr<link::ByteStream>(std::unique_ptr<link::ByteStream>)>;
  /// With `wrap`, the link uses what that makes of the agent's stream.
  explicit AgentBox(aio::Reactor& reactor, const Wrap& wrap = {}, std::optional<crypto::SecureChannel> channel = std::nullopt)
      : reactor_(reactor) {
    char name[] = "/tmp/sandbox-api-XXXXXX";
    directory_ = ::mkdtemp(name);
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    const char* bin = ::getenv("SANDBOX_BIN_DIR");
    const std::string program = std::string(bin ? bin : "bin") + "/sandbox-agent";
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addchdir_np(&actions, directory_.c_str());
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], 3);
    char* argv[] = {const_cast<char*>(program.c_str()), nullptr};
    std::string home = "HOME=" + directory_;
    std::string path = "PATH=/usr/local/bin:/usr/bin:/bin";
    char* envp[] = {home.data(), path.data(), nullptr};
    const int error = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, envp);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    if (error != 0) {
      ::close(ends[0]);
      pid_ = -1;
      failure_ = "cannot start " + program;
      return;
    }
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    auto stream = link::socket_stream(core::UniqueFd(ends[0]));
    if (wrap) stream = wrap(std::move(stream));
    link_ = link::Link::make(std::move(stream), session::Options(), reactor_, std::move(channel));
  }
  ~AgentBox() override {
    close().ignore("test");
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  const std::string& failure() const { return failure_; }
  /// Where its files live, on the host.
  const std::string& directory() const { return directory_; }
  /// One of `count` commands that end, saying `number`, when all of them run at once.
  Command meeting(int number, int count) const {
    const std::string n = std::to_string(number);
    return Command("touch met." + n + "; until [ $(ls | grep -c met) -ge " + std::to_string(count) + " ]; do sleep 0.01; done; echo " + n)
        .workdir(directory_).timeout(std::chrono::seconds(30));
  }
  pid_t agent_pid() const { return pid_; }
  void set_unusable(std::optional<Error> why) { unusable_ = std::move(why); }

  const std::string& id() const noexcept override { return id_; }
  const SandboxSpec& spec() const noexcept override { return spec_; }
  const std::vector<std::string>& unenforced() const noexcept override { return unenforced_; }
  const std::shared_ptr<link::Link>& link() const noexcept override { return link_; }
  aio::Reactor& reactor() noexcept override { return reactor_; }
  Result<void> usable() const override {
    if (unusable_) return *unusable_;
    return {};
  }
  Result<SandboxStats> stats() override { return no(); }
  Result<void> pause() override { return no(); }
  Result<void> resume() override { return no(); }
  Result<TemplateInfo> save_template(std::string) override { return no(); }
  Result<int> connect(std::uint16_t, std::chrono::milliseconds) override { return no(); }
  Result<ExposedPort> expose(std::uint16_t, std::uint16_t, std::chrono::milliseconds, const std::stop_token&) override { return no(); }
  Result<std::vector<ExposedPort>> exposed() override { return no(); }
  Result<void> unexpose(std::uint16_t) override { return no(); }
  Result<void> close() override {
    if (closed_.exchange(true)) return {};
    if (link_) link_->close(Error(ErrorCode::failed_precondition, "the sandbox is closed"));
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    return {};
  }
  bool closed() const noexcept override { return closed_; }

 private:
  static Error no() { return Error(ErrorCode::unsupported, "not in this test"); }

  aio::Reactor& reactor_;
  std::string id_ = "sbx-00000000";
  SandboxSpec spec_;
  std::vector<std::string> unenforced_;
  std::string directory_, failure_;
  pid_t pid_ = -1;
  std::shared_ptr<link::Link> link_;
  std::optional<Error> unusable_;
  std::atomic<bool> closed_ = false;
};

/// A Sandbox over an AgentBox, and the paths of its directory.
class Boxes : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(agent->failure(), "");
    auto hello = agent->link()->handshake(core::SteadyClock::now() + std::chrono::seconds(20));
    ASSERT_TRUE(hello) << hello.error().to_string();
  }
  void TearDown() override {
    // Handles first: a Box must not outlive its reactor.
    box = Sandbox(nullptr);
  }
  std::string at(const std::string& name) const { return agent->directory() + "/" + name; }
  static std::string slurp(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void spill(const std::string& path, std::string_view content) {
    std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
  }

  aio::Reactor reactor;
  std::shared_ptr<AgentBox> agent = std::make_shared<AgentBox>(reactor);
  Sandbox box{agent};
};

/// Fails the test with the error's text.
#define SANDBOX_EXPECT_OK(expression)                                      \
  do {                                                                     \
    auto checked_ = (expression);                                          \
    if (!checked_) ADD_FAILURE() << checked_.error().to_string();          \
  } while (false)
#define SANDBOX_EXPECT_CODE(expression, wanted)                            \
  do {                                                                     \
    auto checked_ = (expression);                                          \
    if (checked_) ADD_FAILURE() << "succeeded";                            \
    else EXPECT_EQ(checked_.error().code(), wanted) << checked_.error().to_string(); \
  } while (false)

/// `size` bytes that show it when some are lost or change places.
inline std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 131 >> 3);
  return text;
}

template <class T>
T get(std::future<T> future) {
  EXPECT_EQ(future.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  return future.get();
}

}  // namespace sandbox::api::test
