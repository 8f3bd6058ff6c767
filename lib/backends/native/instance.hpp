#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend/backend.hpp"
#include "backends/native/launcher.hpp"
#include "backends/native/verify.hpp"
#include "core/unique_fd.hpp"

/// One sandbox of a launcher, made by it or adopted from it.
namespace sandbox::native {

class NativeInstance final : public backend::Instance {
 public:
  /// `id` is the launcher's number of it; `paused` as it is now.
  NativeInstance(std::shared_ptr<Launcher> launcher, std::shared_ptr<const Expectation> expected, std::uint64_t id,
                 core::UniqueFd stream, core::UniqueFd pidfd, core::TimePoint began, bool paused = false);
  ~NativeInstance() override;

  core::UniqueFd take_stream() override { return std::move(stream_); }
  int exit_fd() const noexcept override { return pidfd_.get(); }
  const std::vector<std::string>& unenforced() const noexcept override { return expected_->unenforced; }
  Result<void> verify(const protocol::Facts& facts) const override { return expected_->verify(facts); }
  Result<void> destroy() override;
  Result<SandboxStats> stats() override;
  Result<void> pause() override { return freeze(false); }
  Result<void> pause_briefly() override { return freeze(true); }
  Result<void> resume() override;
  Result<core::UniqueFd> connect(std::uint16_t port, core::TimePoint deadline) override;
  Result<bool> listening(std::uint16_t port) override;
  Result<Writable> writable() override;
  std::uint64_t oom_kills() override;
  Error explain(Error seen) override;
  Result<void> commit(std::string_view record) override;
  void leave() noexcept override;

  /// Greets the agent in plain and waits until it says something. Nothing else can be done with the stream afterwards.
  /// Errors: the step at which the launch failed; deadline_exceeded.
  Result<void> greet(core::TimePoint deadline);

 private:
  /// How it ended. Waits for the end.
  Result<launch::Outcome> ended();
  std::string target() const;
  Result<void> simple(launch::Kind kind);
  Result<void> freeze(bool briefly);

  const std::shared_ptr<Launcher> launcher_;
  const std::shared_ptr<const Expectation> expected_;
  const std::uint64_t id_;
  core::UniqueFd stream_;
  const core::UniqueFd pidfd_;
  const core::TimePoint began_;
  std::mutex mutex_;  ///< of what follows
  bool paused_;
  bool destroyed_ = false;
};

/// How a launcher's answer to anything but a create is waited for.
core::TimePoint soon();
/// Why a sandbox ended, from its outcome, for people: "out of memory (1 killed)", "killed by signal 9".
std::string describe(const launch::Outcome& outcome);

}  // namespace sandbox::native
