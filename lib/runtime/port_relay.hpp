#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <sandbox/result.hpp>

#include "aio/reactor.hpp"
#include "core/unique_fd.hpp"
#include "runtime/worker_threads.hpp"

namespace sandbox::runtime {

struct PortRelayOptions {
  std::string host_address = "127.0.0.1";  ///< numeric
  std::uint16_t host_port = 0;             ///< 0: any free one
  std::size_t max_connections = 256;       ///< at a time; 0: any number
  bool close_excess = false;               ///< connections beyond it are closed at once instead of waiting in the listen queue
};

/// Listens on one address and relays each connection to one made by `dial`. Each direction has a buffer of 64 KiB and reads
/// only when it is empty; end of file on one side is passed on as a half-close.
class PortRelay {
 public:
  /// Makes the other end of one connection: a connected socket. Runs on `workers`, may block for a while.
  using Dial = std::function<Result<core::UniqueFd>()>;

  /// `reactor` and `workers` must outlive the relay.
  /// Errors: already_exists (the port is taken), permission_denied, invalid_argument (the address).
  static Result<std::unique_ptr<PortRelay>> open(aio::Reactor& reactor, WorkerThreads& workers, PortRelayOptions options,
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
