#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include <sandbox/fwd.hpp>
#include <sandbox/result.hpp>

namespace sandbox {

/// A host port that leads to a port inside.
struct ExposedPort {
  std::uint16_t port = 0;       ///< inside
  std::uint16_t host_port = 0;  ///< on `host_address`
  std::string host_address;     ///< "127.0.0.1"
  std::string url() const { return "http://" + host_address + ":" + std::to_string(host_port); }
};

/// Ports of one sandbox. Works with Network::none too: the connection is made inside the sandbox's network namespace
/// and its socket passed out. A light view: copy freely.
class Net {
 public:
  /// A connected TCP socket (blocking, close-on-exec) to `port` on the sandbox's loopback; the caller owns the descriptor. Retries a refused
  /// connection until `timeout`. Errors: unavailable (nobody listens), deadline_exceeded, invalid_argument (port 0).
  Result<int> connect(std::uint16_t port, std::chrono::milliseconds timeout = std::chrono::seconds(5));
  /// Listens on `host_address` (port 0: any free one) and relays every connection, half-close included, until close()
  /// or the sandbox ends. Waits until something listens inside; `stop`, asked from any thread, ends that at once with cancelled, and
  /// both ports are free then. (Behind a daemon it waits until that says so, for 2 s at most; one that does not answer frees the
  /// ports when it finds the connection gone.) Errors: already_exists, deadline_exceeded, cancelled.
  Result<ExposedPort> expose(std::uint16_t port, std::uint16_t host_port = 0,
                             std::chrono::milliseconds timeout = std::chrono::seconds(30), std::stop_token stop = {});
  /// The same; takes a thread until it completes. Cancel: as `stop`.
  template <class Token> auto async_expose(std::uint16_t port, std::uint16_t host_port, std::chrono::milliseconds timeout, Token&& token);
  Result<std::vector<ExposedPort>> list();
  Result<void> close(std::uint16_t port);

  explicit Net(std::shared_ptr<driver::Box> box) noexcept : box_(std::move(box)) {}

 private:
  std::shared_ptr<driver::Box> box_;
};

}  // namespace sandbox
