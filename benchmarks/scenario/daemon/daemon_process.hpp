#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <sys/types.h>

#include <sandbox/result.hpp>

#include "raw_http.hpp"

namespace bench {

/// What GET /health and the kernel say about a daemon.
struct DaemonView {
  std::uint64_t sandboxes = 0;
  double pss_kib = 0;
  std::size_t descriptors = 0;
};

/// The build's own sandboxd on a scratch unix socket with a scratch state directory; both vanish with this object.
class Daemon {
 public:
  struct Options {
    std::uint32_t warm = 0;            ///< of the profile "default": this host's userland
    std::uint32_t max_sandboxes = 2000;
    std::uint32_t create_rate = 0;     ///< creations per minute of one caller; 0: as many as there are
  };
  /// Starts it and waits until /health answers, at most 30 s. Throws.
  explicit Daemon(Options options);
  Daemon(const Daemon&) = delete;
  /// SIGTERM, 20 s for its sandboxes to end, then SIGKILL.
  ~Daemon();

  const std::string& socket() const noexcept { return socket_; }
  std::string url() const { return "unix://" + socket_; }
  pid_t pid() const noexcept { return pid_; }
  RawConnection connect() const { return RawConnection::open(socket_).value(); }
  DaemonView view() const;
  /// Until /health counts `sandboxes`, at most `limit`; how long that took. Throws when it never does.
  std::chrono::nanoseconds wait_for_sandboxes(std::uint64_t sandboxes, std::chrono::seconds limit) const;
  /// Until every pool is as full as it wants to be.
  void wait_warm() const;
  /// SIGKILL, and only it: launchers and sandboxes are not told.
  void kill();
  /// Starts a new one after kill(), with the same configuration and state. Returns at once; wait_for_sandboxes() waits.
  void start();
  /// The last lines it logged, for error messages.
  std::string log_tail() const;

 private:
  void stop() noexcept;
  std::string directory_, socket_, program_;
  pid_t pid_ = -1;
};

}  // namespace bench
