#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <sandbox/result.hpp>

#include "aio/reactor.hpp"

namespace sandbox::runtime {

/// Watches many descriptors for readability with one epoll on the reactor, so that adding and removing one is a single
/// system call on the caller's thread and never wakes the reactor. Thread-safe.
class ExitMonitor {
 public:
  /// `on_exit(token)` runs on the reactor thread, once per added descriptor, possibly after remove() was called for it on
  /// another thread: tokens must not be reused.
  static Result<std::unique_ptr<ExitMonitor>> make(aio::Reactor& reactor, std::function<void(std::uint64_t)> on_exit);
  /// Blocks until no callback runs, unless called on the reactor thread. The reactor must still run, or be stopped.
  ~ExitMonitor();

  /// `fd` must stay open until remove().
  Result<void> add(int fd, std::uint64_t token);
  void remove(int fd) noexcept;

 private:
  struct Impl;
  explicit ExitMonitor(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace sandbox::runtime
