#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sandbox/image.hpp>
#include <sandbox/limits.hpp>
#include <sandbox/policy.hpp>

namespace sandbox {

/// What a sandbox is made of. A value; two equal specs share one warm pool, any difference makes another.
/// The default is the locked-down one: host image, no network, read-only root, limits as in Limits.
class SandboxSpec {
 public:
  SandboxSpec() = default;

  SandboxSpec& image(Image image) & { return image_ = std::move(image), *this; }
  SandboxSpec&& image(Image i) && { return std::move(image(std::move(i))); }
  SandboxSpec& limits(Limits limits) & { return limits_ = limits, *this; }
  SandboxSpec&& limits(Limits l) && { return std::move(limits(l)); }
  SandboxSpec& network(Network network) & { return network_ = network, *this; }
  SandboxSpec&& network(Network n) && { return std::move(network(n)); }
  /// One variable of the environment every command starts with. PATH, HOME, LANG and TERM have defaults.
  SandboxSpec& env(std::string name, std::string value) & { return env_.emplace_back(std::move(name), std::move(value)), *this; }
  SandboxSpec&& env(std::string n, std::string v) && { return std::move(env(std::move(n), std::move(v))); }
  /// Absolute directory commands run in by default. Default /root.
  SandboxSpec& workdir(std::string path) & { return workdir_ = std::move(path), *this; }
  SandboxSpec&& workdir(std::string p) && { return std::move(workdir(std::move(p))); }
  /// Default "sandbox".
  SandboxSpec& hostname(std::string name) & { return hostname_ = std::move(name), *this; }
  SandboxSpec&& hostname(std::string n) && { return std::move(hostname(std::move(n))); }
  /// Makes the whole root writable (an overlay, within Limits::disk) instead of only /root, /tmp and /dev/shm.
  SandboxSpec& writable_root(bool on = true) & { return writable_root_ = on, *this; }
  SandboxSpec&& writable_root(bool on = true) && { return std::move(writable_root(on)); }
  /// "native" (default) or another registered backend.
  SandboxSpec& backend(std::string name) & { return backend_ = std::move(name), *this; }
  SandboxSpec&& backend(std::string n) && { return std::move(backend(std::move(n))); }
  /// Pools are never shared between users: sandboxes warmed for one are not handed to another.
  SandboxSpec& user(std::string id) & { return user_ = std::move(id), *this; }
  SandboxSpec&& user(std::string i) && { return std::move(user(std::move(i))); }
  /// Seals every byte between this handle and the sandbox's agent end to end: X25519, AES-256-GCM, docs/PROTOCOL.md. In
  /// this process alone the stream is a socketpair that nobody shares, and sealing only costs; it matters once the bytes
  /// travel on. Neither end is pinned here: it keeps out those who listen, not one who answers in the agent's place.
  /// create() then fails with unsupported on a CPU without AES instructions.
  SandboxSpec& sealed(bool on = true) & { return sealed_ = on, *this; }
  SandboxSpec&& sealed(bool on = true) && { return std::move(sealed(on)); }
  SandboxSpec& allow(allow::unenforced_limits) & { return allow_unenforced_limits_ = true, *this; }
  SandboxSpec&& allow(allow::unenforced_limits t) && { return std::move(allow(t)); }

  const Image& image() const noexcept { return image_; }
  const Limits& limits() const noexcept { return limits_; }
  Network network() const noexcept { return network_; }
  const std::vector<std::pair<std::string, std::string>>& env() const noexcept { return env_; }
  const std::string& workdir() const noexcept { return workdir_; }
  const std::string& hostname() const noexcept { return hostname_; }
  bool is_root_writable() const noexcept { return writable_root_; }
  const std::string& backend() const noexcept { return backend_; }
  const std::string& user() const noexcept { return user_; }
  bool is_sealed() const noexcept { return sealed_; }
  bool allows_unenforced_limits() const noexcept { return allow_unenforced_limits_; }
  bool operator==(const SandboxSpec&) const = default;

 private:
  Image image_ = Image::host();
  Limits limits_;
  Network network_ = Network::none;
  std::vector<std::pair<std::string, std::string>> env_;
  std::string workdir_ = "/root";
  std::string hostname_ = "sandbox";
  bool writable_root_ = false;
  std::string backend_ = "native";
  std::string user_;
  bool sealed_ = false;
  bool allow_unenforced_limits_ = false;
};

}  // namespace sandbox
