#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sandbox/result.hpp>
#include <sandbox/service.hpp>

#include "core/clock.hpp"
#include "server/config.hpp"

/// What the service reads of its configuration, checked and in the units it works in. A reload gives it a new one.
namespace sandbox::server {

/// A configured kind of sandbox with its pool.
struct ProfileSettings {
  ProfileInfo info;
  SandboxSpec spec;        ///< its user() is the profile's name: pools of equal profiles stay apart
  std::uint32_t warm = 0;  ///< members kept ready
};

struct Settings {
  std::string node_id;
  bool multi_tenant = false;
  std::vector<ProfileSettings> profiles;  ///< by name

  std::uint32_t max_sandboxes = 100;
  std::uint64_t max_memory = 0;  ///< bytes, per request and in total; 0: not limited
  double max_cpu = 0;            ///< cores, likewise
  std::chrono::seconds max_ttl{86400};
  std::uint32_t max_templates = 50;
  std::uint64_t max_template_size = 0;    ///< bytes; 0: not limited
  std::chrono::hours template_expiry{0};  ///< 0: never
  std::uint32_t max_tunnels = 10;         ///< of one sandbox
  std::uint32_t max_connections_per_tunnel = 100;  ///< 0: any number
  std::string tunnel_bind_address = "127.0.0.1";
  std::uint16_t tunnel_port_min = 0, tunnel_port_max = 0;  ///< both 0: any free port
  core::Duration resume_grace = std::chrono::seconds(30);
  core::Duration create_wait = std::chrono::milliseconds(100);  ///< for a place, before "at capacity"
  bool allow_host_paths = false;          ///< specs of clients may name directories and archives of this host
  std::uint32_t max_warm = 60;            ///< most members an administrator may ask for

  const ProfileSettings* find(std::string_view name) const noexcept {
    for (const ProfileSettings& profile : profiles)
      if (profile.info.name == name) return &profile;
    return nullptr;
  }
};

/// Errors: invalid_argument naming the profile.
Result<Settings> settings_from(const Config& config);

/// What a request for a sandbox comes to.
struct Resolved {
  SandboxSpec spec;
  std::string profile;  ///< of the reply; empty: none
  std::string image;    ///< for people
};

}  // namespace sandbox::server
