#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <sandbox/result.hpp>

#include "core/clock.hpp"

/// The agent's event loop: epoll, timers and deferred slices on one thread.
namespace sandbox::agent {

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;

  /// Calls `ready(epoll events)` whenever `fd` has one of `events`, until unwatch(fd). Level-triggered.
  Result<void> watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> ready);
  void rewatch(int fd, std::uint32_t events);
  void unwatch(int fd);

  using TimerId = std::uint64_t;
  TimerId at(core::TimePoint when, std::function<void()> fire);
  void cancel_timer(TimerId id);

  /// Runs `slice` soon, after pending I/O was looked at: how long work takes turns. Slices should take ≤ 1 ms.
  /// Returns an id for cancel_slice.
  std::uint64_t defer(std::function<void()> slice);
  void cancel_slice(std::uint64_t id);

  core::TimePoint now() const noexcept;   ///< of the current turn
  /// Runs until stop().
  void run();
  void stop() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::agent
