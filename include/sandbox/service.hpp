#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/pool.hpp>
#include <sandbox/spec.hpp>
#include <sandbox/template.hpp>

/// What a daemon tells about itself and what it keeps. Values; the JSON of each is in lib/rest and docs/PROTOCOL.md.
namespace sandbox {

using Labels = std::map<std::string, std::string>;

enum class SandboxState : std::uint8_t {
  creating,
  running,
  paused,
  disconnected,  ///< nobody has a session with it; destroyed when its ttl is over
  stopping,
  stopped,
};

/// One sandbox as its daemon lists it.
struct SandboxInfo {
  std::string id;
  std::string image;                        ///< for people: "host", "tpl-…", what the profile calls it
  SandboxState state = SandboxState::running;
  std::chrono::system_clock::time_point created;
  std::chrono::seconds ttl{0};              ///< how long it outlives its last session; 0: not at all
  std::string profile;                      ///< empty when it was made from a template or a spec
  std::string template_id;                  ///< empty unless made from one
  Labels labels;
  std::optional<SandboxSpec> spec;          ///< absent from daemons that do not tell
  std::vector<std::string> unenforced;      ///< see Sandbox::unenforced()
  bool operator==(const SandboxInfo&) const = default;
};

/// A configured kind of sandbox.
struct ProfileInfo {
  std::string name;
  std::string image;
  std::string memory;   ///< as configured, "512m"
  double cpus = 0;
  std::string storage;  ///< as configured
  bool operator==(const ProfileInfo&) const = default;
};

/// One warm pool of a daemon. `profile` is the name of its profile.
struct PoolInfo : PoolStats {
  std::string image;
  std::string memory;  ///< as configured
  double cpus = 0;
};

/// A template as its daemon keeps it.
struct ServiceTemplate : TemplateInfo {
  std::string backend;
  std::string identity;                                            ///< of the tenant it belongs to; empty: none
  std::optional<std::chrono::system_clock::time_point> last_used;  ///< when a sandbox was last made from it
};

/// Something that happened in a daemon.
struct ServiceEvent {
  std::uint64_t id = 0;     ///< counts up from 1 in each run of the daemon
  std::string type;         ///< "sandbox.created", …
  std::string sandbox_id;
  std::string identity;
  std::chrono::system_clock::time_point time;
  std::string data;         ///< compact JSON; empty: none
  bool operator==(const ServiceEvent&) const = default;
};

/// Past events, oldest first.
struct EventHistory {
  std::vector<ServiceEvent> events;
  bool complete = true;    ///< false: some after the asked point were dropped already
  std::uint64_t last = 0;  ///< id of the newest event there is
};

struct Health {
  std::string status;                  ///< "ok"
  std::uint64_t sandboxes = 0;
  std::vector<PoolInfo> pools;
  std::string node_id;
  std::string version;                 ///< of the daemon
  std::vector<std::string> protocols;  ///< "v1", "v2"
};

/// What to ask a daemon for: a spec of one's own, or a profile or template of the daemon with a few changes.
class CreateRequest {
 public:
  CreateRequest() = default;

  /// A profile of the daemon's configuration. Default: "default".
  CreateRequest& profile(std::string name) & { return profile_ = std::move(name), *this; }
  CreateRequest&& profile(std::string n) && { return std::move(profile(std::move(n))); }
  CreateRequest& from_template(std::string id) & { return template_ = std::move(id), *this; }
  CreateRequest&& from_template(std::string i) && { return std::move(from_template(std::move(i))); }
  /// Everything about the sandbox at once, in place of a profile. The daemon checks it against its policy.
  CreateRequest& spec(SandboxSpec spec) & { return spec_ = std::move(spec), *this; }
  CreateRequest&& spec(SandboxSpec s) && { return std::move(spec(std::move(s))); }
  CreateRequest& memory(ByteCount amount) & { return memory_ = amount, *this; }
  CreateRequest&& memory(ByteCount a) && { return std::move(memory(a)); }
  CreateRequest& cpus(double cores) & { return cpus_ = cores, *this; }
  CreateRequest&& cpus(double c) && { return std::move(cpus(c)); }
  CreateRequest& storage(ByteCount amount) & { return storage_ = amount, *this; }
  CreateRequest&& storage(ByteCount a) && { return std::move(storage(a)); }
  /// How long the sandbox outlives its last session, in whole seconds. Default 0: it ends with the session.
  CreateRequest& ttl(std::chrono::seconds time) & { return ttl_ = time, *this; }
  CreateRequest&& ttl(std::chrono::seconds t) && { return std::move(ttl(t)); }
  /// At most 64, keys of at most 128 bytes, values of at most 256.
  CreateRequest& label(std::string key, std::string value) & { return labels_[std::move(key)] = std::move(value), *this; }
  CreateRequest&& label(std::string k, std::string v) && { return std::move(label(std::move(k), std::move(v))); }
  /// Seals the session end to end, whatever `spec` says: see SandboxSpec::sealed.
  CreateRequest& sealed(bool on = true) & { return sealed_ = on, *this; }
  CreateRequest&& sealed(bool on = true) && { return std::move(sealed(on)); }

  const std::string& profile() const noexcept { return profile_; }
  const std::string& from_template() const noexcept { return template_; }
  const std::optional<SandboxSpec>& spec() const noexcept { return spec_; }
  std::optional<ByteCount> memory() const noexcept { return memory_; }
  std::optional<double> cpus() const noexcept { return cpus_; }
  std::optional<ByteCount> storage() const noexcept { return storage_; }
  std::chrono::seconds ttl() const noexcept { return ttl_; }
  const Labels& labels() const noexcept { return labels_; }
  bool is_sealed() const noexcept { return sealed_ || (spec_ && spec_->is_sealed()); }

 private:
  std::string profile_;
  std::string template_;
  std::optional<SandboxSpec> spec_;
  std::optional<ByteCount> memory_;
  std::optional<double> cpus_;
  std::optional<ByteCount> storage_;
  std::chrono::seconds ttl_{0};
  Labels labels_;
  bool sealed_ = false;
};

}  // namespace sandbox
