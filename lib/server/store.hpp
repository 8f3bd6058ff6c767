#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sandbox/result.hpp>
#include <sandbox/service.hpp>

/// What a daemon must still know after kill -9: SQLite, in write-ahead mode.
///
/// Writes never wait: they replace what is pending for the same object, and one thread commits all that is pending in one
/// transaction. A daemon killed a moment later has lost the last few milliseconds; so whoever starts again compares with
/// what the launchers tell (they know which sandboxes live, and the note each was made with, birth.hpp) and takes the
/// launchers' word for existence, this store's for owner, labels, ttl and tunnels, the note's where the store is silent. A power cut may lose more (synchronous = NORMAL); it ends every sandbox anyway.
namespace sandbox::server {

using WallTime = std::chrono::system_clock::time_point;

struct StoredTunnel {
  std::uint16_t port = 0;
  std::uint16_t host_port = 0;
  bool operator==(const StoredTunnel&) const = default;
};

struct StoredSandbox {
  std::string id;
  std::string identity;     ///< owner; empty: none
  std::string profile;
  std::string template_id;
  std::string image;
  Labels labels;
  std::chrono::seconds ttl{0};
  WallTime created{};
  SandboxState state = SandboxState::running;
  std::optional<WallTime> disconnected_at;
  std::optional<WallTime> expires_at;   ///< when the reaper is due
  std::uint64_t memory = 0;             ///< reserved, bytes
  double cpus = 0;                      ///< reserved
  std::vector<StoredTunnel> tunnels;
  std::string extra;                    ///< for the owner of the record; opaque
  bool operator==(const StoredSandbox&) const = default;
};

struct StoredTemplate {
  std::string id;
  std::string identity;
  std::string label;
  std::string image;
  std::string backend;
  std::uint64_t size = 0;
  WallTime created{};
  std::optional<WallTime> last_used;
  std::string profile;   ///< of the sandbox it was saved from
  std::uint64_t memory = 0;
  double cpus = 0;
  std::string extra;     ///< opaque, e.g. the spec as JSON
  bool operator==(const StoredTemplate&) const = default;
};

struct StoreOptions {
  /// Told, on the writer's thread, about writes that failed (disk full, …) and are tried again a second later.
  std::function<void(const Error&)> on_error;
  /// How long a write waits while another program (a backup) locks the database.
  std::chrono::milliseconds busy_timeout{5000};
};

/// Thread-safe.
class Store {
 public:
  using Options = StoreOptions;
  /// Opens or creates `path` (0600); its directory must exist. Errors: already_exists (another daemon has it), corrupt
  /// (damaged), failed_precondition (not ours, or of a newer version), unavailable (cannot be opened or written).
  static Result<std::unique_ptr<Store>> open(const std::string& path, Options options = {});
  /// Writes what is pending.
  ~Store();
  Store(const Store&) = delete;

  /// As committed by now: meant for the start. Records with parts that cannot be read are left out and reported by on_error.
  Result<std::vector<StoredSandbox>> sandboxes();
  Result<std::vector<StoredTemplate>> templates();
  Result<std::optional<std::string>> meta(const std::string& key);

  void put(StoredSandbox sandbox);
  void erase_sandbox(const std::string& id);
  void put(StoredTemplate saved);
  void erase_template(const std::string& id);
  void set_meta(const std::string& key, std::string value);

  /// Returns when everything put before is committed. Errors: those of the write; what failed stays pending.
  Result<void> flush();

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::server
