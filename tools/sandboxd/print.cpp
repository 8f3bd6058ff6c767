#include "print.hpp"

#include <charconv>
#include <chrono>
#include <sstream>

namespace sandboxd {
namespace {

using sandbox::server::Config;

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}
std::string number(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value);
  std::string out(text, end.ptr);
  return out.find('.') == std::string::npos ? out + ".0" : out;
}
std::string duration(std::chrono::nanoseconds value) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(value).count();
  return ms % 1000 == 0 ? quoted(std::to_string(ms / 1000) + "s") : quoted(std::to_string(ms) + "ms");
}
std::string truth(bool value) { return value ? "true" : "false"; }

}  // namespace

std::string print_config(const Config& config) {
  std::ostringstream out;
  const auto line = [&](const char* key, const auto& value) { out << key << " = " << value << "\n"; };
  const Config::Server& server = config.server;
  out << "[server]\n";
  line("socket", quoted(server.socket));
  line("tcp", quoted(server.tcp));
  line("tls_cert", quoted(server.tls_cert));
  line("tls_key", quoted(server.tls_key));
  line("data_dir", quoted(server.data_dir));
  line("node_id", quoted(server.node_id));
  line("token_file", quoted(server.token_file));
  line("# tokens in force", server.tokens.size());
  line("allow_unauthenticated", truth(server.allow_unauthenticated));
  line("keep_sandboxes_on_stop", truth(server.keep_sandboxes_on_stop));
  line("require_proof", quoted(server.require_proof));
  line("header_timeout", duration(server.header_timeout));
  line("idle_timeout", duration(server.idle_timeout));
  line("max_connections", server.max_connections);
  out << "\n[multi_tenant]\n";
  line("enabled", truth(config.multi_tenant.enabled));
  line("# public keys in force", config.multi_tenant.public_keys.size());
  line("require_nonce", truth(config.multi_tenant.require_nonce));
  const Config::Limits& limits = config.limits;
  out << "\n[limits]\n";
  line("max_sandboxes", limits.max_sandboxes);
  line("max_memory", quoted(std::to_string(limits.max_memory)));
  line("max_cpu", number(limits.max_cpu));
  line("max_ttl", limits.max_ttl.count());
  line("max_templates", limits.max_templates);
  line("max_template_size", quoted(std::to_string(limits.max_template_size)));
  line("template_expiry_days", limits.template_expiry_days);
  line("create_rate_limit", limits.create_rate_limit);
  line("rate_limit_entries", limits.rate_limit_entries);
  line("max_tunnels", limits.max_tunnels);
  line("max_connections_per_tunnel", limits.max_connections_per_tunnel);
  line("tunnel_bind_address", quoted(limits.tunnel_bind_address));
  line("tunnel_port_min", limits.tunnel_port_min);
  line("tunnel_port_max", limits.tunnel_port_max);
  line("allow_host_paths", truth(limits.allow_host_paths));
  line("resume_grace", duration(limits.resume_grace));
  line("create_wait", duration(limits.create_wait));
  out << "\n[network]\n";
  line("bridge_name", quoted(config.network.bridge_name));
  const Config::Pool& pool = config.pool;
  out << "\n[pool]\n";
  line("total_warm", pool.total_warm);
  line("min_per_image", pool.min_per_image);
  line("min_base", pool.min_base);
  line("max_warm", pool.max_warm);
  line("rebalance_window", duration(pool.rebalance_window));
  line("health_interval", duration(pool.health_interval));
  line("liveness_timeout", duration(pool.liveness_timeout));
  for (const auto& [name, profile] : pool.base) {
    out << "\n[pool.base." << quoted(name) << "]\n";
    line("image", quoted(profile.image));
    line("memory", quoted(profile.memory));
    line("cpu", number(profile.cpu));
    line("storage", quoted(profile.storage));
    line("runtime", quoted(profile.runtime));
    line("network", quoted(profile.network));
    line("writable_root", truth(profile.writable_root));
  }
  return out.str();
}

}  // namespace sandboxd
