#include "server/settings.hpp"

#include <algorithm>
#include <utility>

#include "runtime/profile.hpp"

namespace sandbox::server {
namespace {

/// "host", "directory:/path", "tar:/path", "template:tpl-…".
Result<Image> read_image(const std::string& text) {
  if (text == "host") return Image::host();
  const std::size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon), rest = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (kind == "directory" && !rest.empty()) return Image::directory(rest);
  if (kind == "tar" && !rest.empty()) return Image::tar(rest);
  if (kind == "template" && !rest.empty()) return Image::from_template(rest);
  return Error(ErrorCode::invalid_argument, "image \"" + text + "\"");
}

Result<ProfileSettings> read_profile(const std::string& name, const ProfileConfig& config) {
  ProfileSettings profile;
  profile.info.name = name;
  profile.info.image = config.image;
  profile.info.memory = config.memory;
  profile.info.cpus = config.cpu;
  profile.info.storage = config.storage;
  SANDBOX_TRY(Image image, read_image(config.image));
  Limits limits;
  limits.memory(ByteCount(config.memory_bytes)).cpus(config.cpu).disk(ByteCount(config.storage_bytes));
  profile.spec.image(std::move(image)).limits(limits).backend(config.runtime).user(name);
  profile.spec.network(config.network == "none" ? Network::none : Network::bridge).writable_root(config.writable_root);
  SANDBOX_CHECK(runtime::validate(profile.spec));
  return profile;
}

}  // namespace

Result<Settings> settings_from(const Config& config) {
  Settings settings;
  settings.node_id = config.server.node_id;
  settings.multi_tenant = config.multi_tenant.enabled;
  const Config::Limits& limits = config.limits;
  settings.max_sandboxes = limits.max_sandboxes;
  settings.max_memory = limits.max_memory;
  settings.max_cpu = limits.max_cpu;
  settings.max_ttl = limits.max_ttl;
  settings.max_templates = limits.max_templates;
  settings.max_template_size = limits.max_template_size;
  settings.template_expiry = std::chrono::hours(24) * limits.template_expiry_days;
  settings.max_tunnels = limits.max_tunnels;
  settings.max_connections_per_tunnel = limits.max_connections_per_tunnel;
  settings.tunnel_bind_address = limits.tunnel_bind_address;
  settings.tunnel_port_min = limits.tunnel_port_min;
  settings.tunnel_port_max = limits.tunnel_port_max;
  settings.allow_host_paths = limits.allow_host_paths;
  settings.resume_grace = std::chrono::duration_cast<core::Duration>(limits.resume_grace);
  settings.create_wait = std::chrono::duration_cast<core::Duration>(limits.create_wait);
  settings.max_warm = config.pool.max_warm;

  // All floors together stay within total_warm; what is left of it goes round.
  std::uint32_t left = config.pool.total_warm;
  for (const auto& [name, profile] : config.pool.base) {
    auto read = read_profile(name, profile);
    if (!read) return std::move(read).error().with_context("pool.base." + name);
    read->warm = std::min(config.pool.min_base, left);
    left -= read->warm;
    settings.profiles.push_back(*std::move(read));
  }
  return settings;
}

}  // namespace sandbox::server
