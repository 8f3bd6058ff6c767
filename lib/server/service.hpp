#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include "server/config.hpp"
#include "server/log.hpp"

/// The daemon as an object: what tools/sandboxd runs, and tests in their own process.
namespace sandbox::server {

struct ServiceOptions {
  Config config;
  std::shared_ptr<Log> log;
  std::string helper_directory;  ///< of launcher and agent; empty: as RuntimeOptions
  bool persistent = true;        ///< sandboxes outlive the death of this process
};

/// What becomes of the sandboxes when the service stops.
enum class Leave : std::uint8_t {
  destroy,  ///< they end with it
  keep,     ///< they go on, for the next service with this data directory
};

class Core;

/// Listens and serves until stop(). Members are thread-safe, but not to be called on the reactor thread.
class Service {
 public:
  /// What can be told of a configuration without opening anything: authentication of listeners, and whether the proof it asks
  /// for passed; only open() knows whether that is for this build, host and policy. Errors: those of open().
  static Result<void> check(const Config& config);
  /// Opens the store, the runtime and the listeners, takes over what an earlier service left.
  /// Errors: invalid_argument (configuration, or no authentication for a listener that others can reach), already_exists
  /// (another daemon serves here), failed_precondition (server.require_proof is not met: nothing was adopted or warmed), and those
  /// of Runtime::open and of the listeners.
  static Result<std::unique_ptr<Service>> open(ServiceOptions options);
  /// stop(Leave::destroy) if nobody called it.
  ~Service();
  Service(const Service&) = delete;

  /// Takes up what may change while running; says what differs and which of it needs a restart. On an error nothing changes.
  Result<std::vector<ConfigChange>> reload(const Config& config);
  /// Reads certificate and key again, from where they were when it began to listen, for the connections that come from now on;
  /// none is dropped. Nothing without TLS. Errors: not_found, permission_denied, invalid_argument (no pair); the old one stays.
  Result<void> renew_certificate();
  /// Takes no more requests, lets those under way end within `drain`, then stops. Idempotent.
  Result<void> stop(Leave leave, std::chrono::milliseconds drain = std::chrono::seconds(10));

  /// Of the TCP listener; 0 without one.
  std::uint16_t tcp_port() const noexcept;
  const Config& config() const noexcept;

 private:
  struct Impl;
  explicit Service(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::server
