#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/command.hpp>
#include <sandbox/env.hpp>
#include <sandbox/error.hpp>
#include <sandbox/fs.hpp>
#include <sandbox/fwd.hpp>
#include <sandbox/net.hpp>
#include <sandbox/process.hpp>
#include <sandbox/result.hpp>
#include <sandbox/spec.hpp>
#include <sandbox/template.hpp>
#include <sandbox/version.hpp>

namespace sandbox {

/// What a sandbox uses now.
struct SandboxStats {
  std::chrono::nanoseconds cpu_time{0};    ///< all processes, since creation
  ByteCount memory;                        ///< charged now, page cache and tmpfs included
  ByteCount memory_peak;
  ByteCount memory_limit;
  std::uint32_t pids = 0;
  std::uint64_t network_rx_bytes = 0;      ///< every interface but loopback
  std::uint64_t network_tx_bytes = 0;
  ByteCount disk_used;
  std::uint64_t inodes_used = 0;
  std::uint64_t oom_kills = 0;
  std::chrono::nanoseconds uptime{0};
};

class Fingerprint;  // <sandbox/key.hpp>

/// A live sandbox. The same type whether it runs in this process's runtime or behind a daemon. Move-only; destroying
/// the handle destroys the sandbox (close() does so earlier and tells how it went), unless it came from Client::open().
/// Thread-safe: operations on one sandbox run in parallel and do not wait for each other.
class Sandbox {
 public:
  Sandbox(Sandbox&&) noexcept;
  Sandbox& operator=(Sandbox&&) noexcept;
  ~Sandbox();

  /// "sbx-" and 8 hex digits.
  const std::string& id() const noexcept;
  const SandboxSpec& spec() const noexcept;
  Fs fs() const;
  Process process() const;
  Env env() const;
  Net net() const;

  /// One round trip to the agent. Errors: unavailable, deadline_exceeded.
  Result<std::chrono::nanoseconds> ping(std::chrono::milliseconds timeout = std::chrono::seconds(5));
  Result<SandboxStats> stats();
  /// Stops every process where it stands (freezer); operations fail with failed_precondition until resume().
  Result<void> pause();
  Result<void> resume();
  /// Saves everything writable as a template; the sandbox is frozen meanwhile and then goes on.
  Result<TemplateInfo> save_template(std::string label);
  /// Limits and locks that this host does not enforce, one line each; empty unless allow::unenforced_limits.
  const std::vector<std::string>& unenforced() const noexcept;
  /// Kills everything inside. When it returns nothing of it runs any more; what it held on the host is given back within
  /// milliseconds behind it.
  Result<void> close();
  bool closed() const noexcept;
  /// Gives up the handle without destroying the sandbox, which goes on under its ttl; Client::open() finds it again.
  /// Errors: unsupported (a sandbox of this process).
  Result<void> detach();
  /// Of the agent inside, which proved that it has the key: what to pin for the next time. Waits for the session.
  /// Errors: failed_precondition (not sealed), unavailable, deadline_exceeded, unauthenticated (not the pinned one).
  Result<Fingerprint> agent_fingerprint(std::chrono::milliseconds timeout = std::chrono::seconds(5));

  template <class Token> auto async_close(Token&& token);  ///< void(Result<void>)

  explicit Sandbox(std::shared_ptr<driver::Box> box) noexcept;
  const std::shared_ptr<driver::Box>& box() const noexcept { return box_; }

 private:
  std::shared_ptr<driver::Box> box_;
};

}  // namespace sandbox

#include <sandbox/runtime.hpp>
