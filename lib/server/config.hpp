#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>
#include <sandbox/runtime.hpp>

/// The daemon's settings: a TOML file, then the environment. docs/DEPLOYMENT.md explains every key to people.
namespace sandbox::server {

/// One profile: a table [pool.base.NAME].
struct ProfileConfig {
  std::string image = "host";    ///< host, directory:/path, tar:/path, template:tpl-…
  std::string memory = "512m";   ///< as configured
  double cpu = 1.0;
  std::string storage = "500m";  ///< as configured
  std::string runtime = "native";
  std::string network = "bridge";  ///< none or bridge
  bool writable_root = false;
  std::uint64_t memory_bytes = 512u << 20;
  std::uint64_t storage_bytes = 500u << 20;
  bool operator==(const ProfileConfig&) const = default;
};

using PublicKey = std::array<std::uint8_t, 32>;  ///< Ed25519
using TokenHash = std::array<std::uint8_t, 32>;  ///< SHA-256 of a bearer token

/// Everything that can be set, with its default. What is parsed stands beside the text it came from.
struct Config {
  struct Server {
    std::string socket = "/var/run/sandboxd/sandboxd.sock";
    std::string tcp;  ///< host:port; empty: no TCP
    std::string tls_cert;
    std::string tls_key;
    std::string data_dir = "/var/lib/sandboxd";
    std::string node_id;
    std::vector<TokenHash> tokens;      ///< server.tokens and the lines of server.token_file, hashed
    std::string token_file;
    bool allow_unauthenticated = false;
    bool keep_sandboxes_on_stop = false;  ///< SIGTERM leaves them for the next daemon; else it destroys them
    std::string require_proof;            ///< the report of sbx prove without which nothing starts; empty: none is asked for
    std::chrono::nanoseconds header_timeout = std::chrono::seconds(10);
    std::chrono::nanoseconds idle_timeout = std::chrono::minutes(2);
    std::uint32_t max_connections = 20000;
    bool operator==(const Server&) const = default;
  } server;
  struct MultiTenant {
    bool enabled = false;
    std::vector<PublicKey> public_keys;
    bool require_nonce = false;
    bool operator==(const MultiTenant&) const = default;
  } multi_tenant;
  struct Limits {
    std::uint32_t max_sandboxes = 100;
    std::uint64_t max_memory = 4ull << 30;
    double max_cpu = 4.0;
    std::chrono::seconds max_ttl{86400};
    std::uint32_t max_templates = 50;
    std::uint64_t max_template_size = 2ull << 30;
    std::uint32_t template_expiry_days = 60;  ///< 0: never
    std::uint32_t create_rate_limit = 20;     ///< per key and minute; 0: none
    std::uint32_t rate_limit_entries = 10000;
    std::uint32_t max_tunnels = 10;
    std::uint32_t max_connections_per_tunnel = 100;  ///< 0: unlimited
    std::string tunnel_bind_address = "127.0.0.1";
    std::uint16_t tunnel_port_min = 0;
    std::uint16_t tunnel_port_max = 0;
    bool allow_host_paths = false;
    std::chrono::nanoseconds resume_grace = std::chrono::seconds(30);
    std::chrono::nanoseconds create_wait = std::chrono::milliseconds(100);
    bool operator==(const Limits&) const = default;
  } limits;
  struct Network {
    std::string bridge_name = "sandboxd-net";  ///< read, not used: every sandbox has a network namespace of its own
    bool operator==(const Network&) const = default;
  } network;
  struct Pool {
    std::uint32_t total_warm = 30;
    std::uint32_t min_per_image = 0;
    std::uint32_t min_base = 2;
    std::uint32_t max_warm = 60;
    std::chrono::nanoseconds rebalance_window = std::chrono::hours(1);
    std::chrono::nanoseconds health_interval = std::chrono::seconds(10);
    std::chrono::nanoseconds liveness_timeout = std::chrono::milliseconds(5);
    std::map<std::string, ProfileConfig> base{{"default", ProfileConfig()}};
    bool operator==(const Pool&) const = default;
  } pool;
  struct Log {
    LogLevel level = LogLevel::info;
    bool json = true;
    bool operator==(const Log&) const = default;
  } log;
  bool operator==(const Config&) const = default;

  /// Whether anybody who connects over TCP has to prove who they are.
  bool authenticates() const noexcept { return multi_tenant.enabled || !server.tokens.empty(); }
};

/// One thing wrong with a file, or worth a look.
struct Diagnostic {
  std::string file;
  unsigned line = 0;    ///< from 1; 0: not about one place
  unsigned column = 0;
  std::string text;     ///< one line; control bytes of the file escaped
  /// "file:line:column: text", shorter when there is no line or file.
  std::string to_string() const;
};

struct LoadedConfig {
  Config config;                      ///< to be used only when ok()
  std::vector<Diagnostic> errors;
  std::vector<Diagnostic> warnings;   ///< unknown keys, settings without effect
  bool ok() const noexcept { return errors.empty(); }
};

/// How SANDBOX_SOCKET, SANDBOX_TCP and SANDBOX_DATA_DIR are looked up.
using Environment = std::function<std::optional<std::string>(std::string_view)>;
Environment process_environment();

/// Reads and checks a whole configuration; reports everything it finds wrong, not just the first. Unknown keys are
/// warnings that suggest a similar key. Reads server.token_file and looks whether the TLS files can be read; nothing else.
/// `file` is for the diagnostics. Never throws.
LoadedConfig parse_config(std::string_view toml, const std::string& file, const Environment& environment = process_environment());
/// The same for a file; an empty path means defaults and environment.
LoadedConfig load_config(const std::string& path, const Environment& environment = process_environment());

/// One setting that differs between two configurations.
struct ConfigChange {
  std::string key;  ///< "limits.max_ttl", "pool.base.fat"
  bool live;        ///< takes effect by a reload; else only by a restart
};
std::vector<ConfigChange> changes(const Config& from, const Config& to);

/// "512m" -> bytes (decimal digits, at most one of k m g t, any case, blanks around). Nothing when it is not one.
std::optional<std::uint64_t> parse_size(std::string_view text);
/// Go's syntax: "1h30m", "5ms", "1.5s", "-2us", "0". Nothing when it is not one or overflows.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);
/// "10.0.0.1:80", "[::1]:80", ":80", "localhost:80" -> host and port.
struct HostPort {
  std::string host;  ///< empty: every address
  std::uint16_t port = 0;
};
std::optional<HostPort> parse_host_port(std::string_view text);
/// Whether only this machine can reach a listener on that host (127/8, ::1, localhost).
bool is_loopback(std::string_view host) noexcept;

}  // namespace sandbox::server
