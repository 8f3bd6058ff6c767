#include <unistd.h>

#include <fstream>

#include "server/auth.hpp"
#include "server/config_schema.hpp"

/// What must hold between settings. The quoted texts are the specification's.
namespace sandbox::server::schema {
namespace {

constexpr std::uint64_t kLeastMemory = 8 << 20;  ///< of sandbox::Limits
constexpr std::size_t kMaxTokenFile = 1 << 20;

bool readable(const std::string& path) { return ::access(path.c_str(), R_OK) == 0; }

bool plain_name(std::string_view text, std::size_t most) {
  return !text.empty() && text.size() <= most &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == text.npos;
}

void read_token_file(Report& report, Config& config) {
  if (config.server.token_file.empty()) return;
  std::ifstream file(config.server.token_file, std::ios::binary);
  if (!file) return report.error("server.token_file", "server.token_file: cannot read " + config.server.token_file);
  std::string line;
  std::size_t total = 0;
  for (unsigned number = 1; std::getline(file, line); ++number) {
    if ((total += line.size()) > kMaxTokenFile) return report.error("server.token_file", "server.token_file is too large");
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == line.npos || line[first] == '#') continue;
    line = line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
    const auto hash = hash_token(line);
    if (hash) config.server.tokens.push_back(*hash);
    else report.error("server.token_file", "server.token_file: line " + std::to_string(number) + " is not a token");
  }
}

void check_server(Report& report, Config& config) {
  Config::Server& server = config.server;
  if (server.socket.empty()) report.error("server.socket", "server.socket is required");
  else if (server.socket.size() > 107) report.error("server.socket", "server.socket must be at most 107 bytes long");
  if (server.data_dir.empty()) report.error("server.data_dir", "server.data_dir is required");
  if (server.tls_cert.empty() != server.tls_key.empty()) {
    report.error(server.tls_cert.empty() ? "server.tls_key" : "server.tls_cert",
                 "server.tls_cert and server.tls_key must both be set or both be empty");
  } else if (!server.tls_cert.empty()) {
    if (!readable(server.tls_cert)) report.error("server.tls_cert", "server.tls_cert: cannot read " + server.tls_cert);
    if (!readable(server.tls_key)) report.error("server.tls_key", "server.tls_key: cannot read " + server.tls_key);
  }
  if (!server.node_id.empty() && !plain_name(server.node_id, 32)) {
    report.error("server.node_id", "server.node_id must be at most 32 letters, digits, dots, dashes and underscores");
  }
  if (!server.require_proof.empty() && server.require_proof.front() != '/') {
    report.error("server.require_proof", "server.require_proof must be an absolute path");
  }
  if (server.max_connections == 0) report.error("server.max_connections", "server.max_connections must be positive");
  if (config.multi_tenant.enabled && config.multi_tenant.public_keys.empty()) {
    report.error("multi_tenant.public_keys", "multi_tenant.public_keys requires at least one key when enabled");
  }
  if (config.multi_tenant.enabled && !server.tokens.empty()) {
    report.warning(report.placed("server.tokens") ? "server.tokens" : "server.token_file",
                   "bearer tokens have no effect when multi_tenant.enabled is true");
  }
  if (server.tcp.empty()) return;
  const auto address = parse_host_port(server.tcp);
  if (!address) return report.error("server.tcp", "server.tcp must be host:port");
  if (is_loopback(address->host)) return;
  if (!config.authenticates() && !server.allow_unauthenticated) {
    report.error("server.tcp", "server.tcp " + server.tcp +
                                   " can be reached from other machines and nobody is asked who they are: set server.tokens, "
                                   "server.token_file or multi_tenant, or server.allow_unauthenticated = true");
  }
  if (!server.tokens.empty() && server.tls_cert.empty()) {
    report.warning("server.tcp", "bearer tokens cross the network in the clear: set server.tls_cert and server.tls_key");
  }
}

void check_limits(Report& report, const Config& config) {
  const Config::Limits& limits = config.limits;
  if (limits.max_sandboxes == 0) report.error("limits.max_sandboxes", "limits.max_sandboxes must be positive");
  if (limits.rate_limit_entries == 0) {
    report.error("limits.rate_limit_entries", "limits.rate_limit_entries must be positive");
  }
  if (limits.tunnel_port_min > limits.tunnel_port_max) {
    report.error("limits.tunnel_port_min", "tunnel_port_min must be <= tunnel_port_max");
  } else if (limits.tunnel_port_min == 0 && limits.tunnel_port_max != 0) {
    report.error("limits.tunnel_port_max", "tunnel_port_min must be set when tunnel_port_max is");
  }
  if (limits.tunnel_bind_address.empty()) {
    report.error("limits.tunnel_bind_address", "limits.tunnel_bind_address must be an address");
  }
  if (config.pool.max_warm < config.pool.total_warm) {
    report.error(report.placed("pool.max_warm") ? "pool.max_warm" : "pool.total_warm",
                 "pool.max_warm must be >= pool.total_warm");
  }
}

void check_image(Report& report, const std::string& key, const ProfileConfig& profile) {
  const std::string& image = profile.image;
  if (image == "host") return;
  for (const std::string_view kind : {"directory:", "tar:"}) {
    if (image.compare(0, kind.size(), kind) != 0) continue;
    if (image.size() <= kind.size() || image[kind.size()] != '/') {
      report.error(key + ".image", key + ".image: " + std::string(kind) + " needs an absolute path");
    }
    return;
  }
  if (image.compare(0, 13, "template:tpl-") == 0) return;
  report.error(key + ".image", key + ".image \"" + image +
                                   "\" is not available: use host, directory:/path, tar:/path or template:tpl-…; images of "
                                   "registries are not supported yet");
}

void check_profile(Report& report, const std::string& name, const ProfileConfig& profile, const Config& config) {
  const std::string key = "pool.base." + name;
  if (!plain_name(name, 64)) {
    report.error(key, key + ": the name must be at most 64 letters, digits, dots, dashes and underscores");
  }
  check_image(report, key, profile);
  if (profile.runtime != "native") {
    report.error(key + ".runtime", key + ".runtime \"" + profile.runtime + "\" is not available: this daemon has native");
  }
  if (profile.network != "none" && profile.network != "bridge") {
    report.error(key + ".network", key + ".network must be none or bridge");
  }
  if (profile.memory_bytes < kLeastMemory) report.error(key + ".memory", key + ".memory must be at least 8m");
  if (profile.storage_bytes == 0) report.error(key + ".storage", key + ".storage must be positive");
  if (profile.cpu < 0.01) report.error(key + ".cpu", key + ".cpu must be at least 0.01");
  if (config.limits.max_memory > 0 && profile.memory_bytes > config.limits.max_memory) {
    report.warning(key + ".memory", key + ".memory is more than limits.max_memory: no sandbox of it can be made");
  }
  if (profile.cpu > config.limits.max_cpu) {
    report.warning(key + ".cpu", key + ".cpu is more than limits.max_cpu: no sandbox of it can be made");
  }
}

}  // namespace

void check(Report& report, Config& config) {
  read_token_file(report, config);
  check_server(report, config);
  check_limits(report, config);
  for (const auto& [name, profile] : config.pool.base) check_profile(report, name, profile, config);
}

}  // namespace sandbox::server::schema
