#pragma once

#include <span>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include "core/clock.hpp"
#include "core/unique_fd.hpp"

/// A child process held by its pidfd. Host only; never forks the embedder's memory (posix_spawn).
namespace sandbox::os {

class PidfdProcess {
 public:
  /// Starts `program` (an open file) in a session of its own, default signals, /dev/null as stdin and stdout, our
  /// stderr, and `passed` as descriptors 3, 4, …; all else is closed on exec.
  static Result<PidfdProcess> spawn(int program, const std::vector<std::string>& argv, std::span<const int> passed);
  PidfdProcess(PidfdProcess&&) noexcept = default;
  PidfdProcess& operator=(PidfdProcess&&) noexcept;
  /// Kills and reaps what still runs.
  ~PidfdProcess();

  int pid() const noexcept { return pid_; }
  int fd() const noexcept { return pidfd_.get(); }
  /// Errors: not_found when it has ended.
  Result<void> kill(int signal);
  /// Lets it run on; nobody waits for it any more.
  void release() noexcept { pidfd_.reset(); }
  /// Waits for the end and reaps it. Returns the wait status as waitpid(2) would. Errors: deadline_exceeded.
  Result<int> wait(core::TimePoint deadline);

 private:
  PidfdProcess(int pid, core::UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  int pid_ = -1;
  core::UniqueFd pidfd_;
};

}  // namespace sandbox::os
