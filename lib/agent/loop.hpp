#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <sandbox/result.hpp>

#include "core/clock.hpp"

/// The agent's event loop: epoll, timers and deferred slices on one thread.
///
/// A turn is: wait for descriptors or timers, call the watchers of ready descriptors, fire due timers, run the
/// before-sleep hooks (servers send what was queued), run the deferred slices, run the hooks again.
namespace sandbox::agent {

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;

  /// Calls `ready(epoll events)` whenever `fd` has one of `events`, until unwatch(fd). Level-triggered. EPOLLHUP and
  /// EPOLLERR are always reported. Errors: failed_precondition or permission_denied for files epoll does not know.
  Result<void> watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> ready);
  /// Changes what a watched fd is watched for. 0 leaves EPOLLHUP and EPOLLERR; use pause() to hear nothing.
  void rewatch(int fd, std::uint32_t events);
  /// Hears nothing of `fd`, not even EPOLLHUP, until the next rewatch(fd).
  void pause(int fd);
  /// Call before closing `fd`. May be called from its own watcher. Unknown descriptors are ignored.
  void unwatch(int fd);

  using TimerId = std::uint64_t;   ///< never 0
  TimerId at(core::TimePoint when, std::function<void()> fire);
  /// Unknown and fired ids are ignored.
  void cancel_timer(TimerId id);

  /// Runs `slice` soon, after pending I/O was looked at: how long work takes turns. Slices should take ≤ 1 ms.
  /// Returns an id (never 0) for cancel_slice.
  std::uint64_t defer(std::function<void()> slice);
  void cancel_slice(std::uint64_t id);

  /// Calls `hook` before every wait, after everything else of the turn, newest hook first. Returns an id for remove_hook.
  std::uint64_t before_sleep(std::function<void()> hook);
  void remove_hook(std::uint64_t id);

  /// The next wait looks for a moment before it sleeps, where that pays (core::Eagerness): something is likely to come at once.
  void expect_soon() noexcept;

  core::TimePoint now() const noexcept;   ///< of the current turn
  /// Runs until stop().
  void run();
  /// One turn that waits at most `longest`; for tests and for owners with a loop of their own.
  void turn(core::Duration longest);
  void stop() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::agent
