#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "backend/backend.hpp"
#include "backends/fake/agent_thread.hpp"
#include "support/eventually.hpp"

namespace sandbox::runtime::testing {

/// What a test tells and asks its backend; shared by the backend, its recipes and its instances.
struct Script {
  std::atomic<int> created{0}, destroyed{0}, prepared{0};
  std::atomic<int> making{0}, most_making{0}, most_alive{0};
  std::atomic<int> fail_next{0};          ///< creations that fail with `failure`
  ErrorCode failure = ErrorCode::internal;
  std::atomic<bool> stale{false};         ///< recipes say so until one more is prepared
  std::atomic<int> create_ms{0};          ///< how long a creation takes
  std::atomic<bool> verify_fails{false};
  std::atomic<bool> mute{false};          ///< agents never say hello
  std::atomic<std::uint64_t> oom{0};
  std::atomic<int> looks{0};                   ///< at what listens
  std::atomic<std::uint16_t> listening{0};     ///< the port "inside" …
  std::atomic<int> refusals{-1};               ///< connections refused before an answer comes too late; -1: none ever does
  std::atomic<std::uint16_t> served_by{0};     ///< … and the one on this host that stands in for it
  std::atomic<bool> ends_when_resumed{false};  ///< and is taken away before the answer comes
  std::atomic<int> fail_commits{0};       ///< commits that fail with `failure`
  std::atomic<bool> closed{false};
  std::function<void()> before_destroy;   ///< on the thread that destroys an instance
  std::string writable;                   ///< directory to save as template
  backend::ResolvedImage image;           ///< the last one prepared

  class Instance;
  std::mutex mutex;
  std::set<Instance*> instances;
  std::vector<std::string> committed;     ///< records, in order
  /// Ends one live instance as a dying first process does.
  void kill_one();
  void kill_all();
  int alive() {
    std::lock_guard lock(mutex);
    return static_cast<int>(instances.size());
  }
};

class Script::Instance final : public backend::Instance {
 public:
  explicit Instance(std::shared_ptr<Script> script) : script_(std::move(script)), exit_(::eventfd(0, EFD_CLOEXEC)) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) std::abort();
    stream_ = core::UniqueFd(pair[0]);
    core::UniqueFd agent_end(pair[1]);
    if (script_->mute) {
      mute_ = std::move(agent_end);
    } else {
      session::Options options;
      options.software = "test-agent";
      options.hello.facts.emplace();
      agent_ = std::make_unique<backends::fake::AgentThread>(
          std::move(agent_end), std::move(options),
          [](session::Session&, session::StreamId, protocol::Method, ByteView) { return nullptr; });
    }
    ++script_->created;
    std::lock_guard lock(script_->mutex);
    script_->instances.insert(this);
    const int alive = static_cast<int>(script_->instances.size());
    if (alive > script_->most_alive) script_->most_alive = alive;
  }
  ~Instance() override { destroy().ignore("idempotent"); }

  core::UniqueFd take_stream() override { return std::move(stream_); }
  int exit_fd() const noexcept override { return exit_.get(); }
  Result<void> verify(const protocol::Facts&) const override {
    if (script_->verify_fails) return Error(ErrorCode::failed_precondition, "a door stands open");
    return {};
  }
  Result<void> destroy() override {
    if (script_->before_destroy) script_->before_destroy();
    {
      std::lock_guard lock(script_->mutex);
      if (script_->instances.erase(this) == 0) return {};
    }
    if (agent_) agent_->die();
    ++script_->destroyed;
    return {};
  }
  Result<SandboxStats> stats() override { return SandboxStats(); }
  Result<void> pause() override { return {}; }
  Result<void> resume() override {
    if (!script_->ends_when_resumed) return {};
    end();
    sandbox::testing::eventually([&] {  // who sees the end takes it away
      std::lock_guard lock(script_->mutex);
      return !script_->instances.contains(this);
    });
    return Error(ErrorCode::not_found, "no such sandbox");
  }
  Result<core::UniqueFd> connect(std::uint16_t port, core::TimePoint) override {
    if (script_->refusals == 0) return Error(ErrorCode::deadline_exceeded, "no answer in time");
    if (script_->refusals > 0) --script_->refusals;
    if (port != script_->listening) return Error(ErrorCode::unavailable, "refused");
    core::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(script_->served_by);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      return Error(ErrorCode::unavailable, "refused");
    return socket;
  }
  Result<bool> listening(std::uint16_t port) override {
    ++script_->looks;
    return port == script_->listening;
  }
  Result<Writable> writable() override {
    Writable result;
    result.directory = core::UniqueFd(::open(script_->writable.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!result.directory) return Error::from_errno(errno, "test.writable");
    return result;
  }
  std::uint64_t oom_kills() override { return script_->oom; }
  Result<void> commit(std::string_view record) override {
    if (script_->fail_commits > 0 && script_->fail_commits-- > 0) return Error(script_->failure, "scripted failure");
    std::lock_guard lock(script_->mutex);
    script_->committed.emplace_back(record);
    return {};
  }
  const std::vector<std::string>& unenforced() const noexcept override { return none_; }

  void end() {
    if (agent_) agent_->die();
    const std::uint64_t one = 1;
    if (::write(exit_.get(), &one, sizeof one) != sizeof one) std::abort();
  }

 private:
  std::shared_ptr<Script> script_;
  core::UniqueFd exit_, stream_, mute_;
  std::unique_ptr<backends::fake::AgentThread> agent_;
  std::vector<std::string> none_;
};

inline void Script::kill_one() {
  std::lock_guard lock(mutex);
  (*instances.begin())->end();
}
inline void Script::kill_all() {
  std::lock_guard lock(mutex);
  for (Instance* instance : instances) instance->end();
}

class TestRecipe final : public backend::Recipe {
 public:
  explicit TestRecipe(std::shared_ptr<Script> script) : script_(std::move(script)) {}
  Result<std::unique_ptr<backend::Instance>> create(core::TimePoint) override {
    const int making = ++script_->making;
    for (int most = script_->most_making; making > most && !script_->most_making.compare_exchange_weak(most, making);) {
    }
    // Stands in for the time a creation takes, which is what admission and refill are about.
    std::this_thread::sleep_for(std::chrono::milliseconds(script_->create_ms));
    --script_->making;
    if (script_->closed) return Error(ErrorCode::unavailable, "the backend is closed");
    for (int left = script_->fail_next; left > 0;)
      if (script_->fail_next.compare_exchange_weak(left, left - 1))
        return Error(script_->failure, "scripted failure");
    return std::unique_ptr<backend::Instance>(std::make_unique<Script::Instance>(script_));
  }
  bool stale() const noexcept override { return script_->stale; }

 private:
  std::shared_ptr<Script> script_;
};

class TestBackend final : public backend::Backend {
 public:
  explicit TestBackend(std::shared_ptr<Script> script) : script_(std::move(script)) {}
  std::string_view name() const noexcept override { return "native"; }
  Result<HostReport> probe(core::TimePoint) override {
    HostReport report;
    report.backend = "test";
    return report;
  }
  Result<std::shared_ptr<backend::Recipe>> prepare(const SandboxSpec&, const backend::ResolvedImage& image) override {
    if (++script_->prepared > 1) script_->stale = false;
    script_->image = image;
    return std::shared_ptr<backend::Recipe>(std::make_shared<TestRecipe>(script_));
  }
  std::uint64_t restarts() const noexcept override { return script_->prepared > 1 ? 1 : 0; }
  Result<void> close() override {
    script_->closed = true;
    return {};
  }

 private:
  std::shared_ptr<Script> script_;
};

}  // namespace sandbox::runtime::testing
