#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <sandbox/result.hpp>

#include "aio/reactor.hpp"
#include "core/unique_fd.hpp"
#include "runtime/worker_threads.hpp"

namespace sandbox::runtime {

/// Listens on 127.0.0.1 and relays each connection to one made by `dial`. Each direction has a buffer of 64 KiB and reads
/// only when it is empty; end of file on one side is passed on as a half-close. At most 256 connections at a time; more
/// wait in the listen queue.
class PortRelay {
 public:
  /// Makes the other end of one connection: a connected socket. Runs on `workers`, may block for a while.
  using Dial = std::function<Result<core::UniqueFd>()>;

  /// `host_port` 0: any free one. `reactor` and `workers` must outlive the relay.
  /// Errors: already_exists (the port is taken), permission_denied.
  static Result<std::unique_ptr<PortRelay>> open(aio::Reactor& reactor, WorkerThreads& workers, std::uint16_t host_port,
                                                 Dial dial);
  /// Closes the listener and every connection; when it returns (off the reactor thread) they are closed.
  ~PortRelay();

  std::uint16_t host_port() const noexcept;

 private:
  struct Impl;
  explicit PortRelay(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace sandbox::runtime
