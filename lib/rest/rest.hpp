#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/net.hpp>
#include <sandbox/result.hpp>
#include <sandbox/sandbox.hpp>
#include <sandbox/service.hpp>

#include "rest/json_writer.hpp"

/// The JSON forms of the public values, the same at both ends (docs/PROTOCOL.md, "REST"). Writers give compact JSON
/// without a newline. Readers take untrusted text: at most kMaxDocument bytes, any nesting beyond 32 refused, unknown keys
/// ignored, keys compared without case, null as if absent, the last of equal keys counts, text after the first value
/// ignored; a wrong type or a number that does not fit is invalid_argument that names the key. Thread-safe.
namespace sandbox::rest {

inline constexpr std::size_t kMaxBody = 1 << 20;       ///< of a request, bytes
inline constexpr std::size_t kMaxDocument = 64 << 20;  ///< of anything read, bytes

// ---- small things ---------------------------------------------------------------------------------------------------

using WallTime = std::chrono::system_clock::time_point;
/// RFC 3339 in UTC, nine digits of fraction at most and no trailing zeros: "2026-11-21T12:00:00.25Z".
std::string write_time(WallTime time);
std::string write_time_seconds(WallTime time);  ///< without a fraction
Result<WallTime> read_time(std::string_view text);
/// "512m", "1G", "4096": decimal digits and at most one of k m g t (powers of 1024), any case, blanks around. Errors:
/// invalid_argument.
Result<ByteCount> read_size(std::string_view text);
std::string_view name(SandboxState state) noexcept;
/// Whether `text` is valid UTF-8; JSON can carry nothing else.
bool is_utf8(std::string_view text) noexcept;

// ---- errors ---------------------------------------------------------------------------------------------------------

/// {"error":"text","code":"not_found"}
std::string write_error(ErrorCode code, std::string_view text);
std::string write_error(const Error& error);
/// The Error of a reply with `status` (400…599): its `code`, or what the status says when the body has none. Never fails.
Error read_error(int status, std::string_view body);
int status_of(ErrorCode code) noexcept;
std::optional<ErrorCode> code_of(std::string_view name) noexcept;

// ---- specs and creation -----------------------------------------------------------------------------------------------

/// {"image":"host"|"tpl-…"|{"directory":path}|{"tar":path},"limits":{"memory":bytes,"cpus":n,"pids":n,"open_files":n,
/// "disk":bytes,"inodes":n},"network":"none"|"bridge","env":{"A":"1"},"workdir":…,"hostname":…,"writable_root":bool,
/// "backend":…,"user":…,"sealed":bool,"allow_unenforced_limits":bool}. Absent: the default of SandboxSpec. Sizes are read
/// as numbers of bytes or as texts ("512m"). A daemon does not use `user` and `sealed` of a request: the user is the
/// caller's identity, sealing is between client and agent.
std::string write(const SandboxSpec& spec);
Result<SandboxSpec> read_spec(std::string_view json);

/// Body of POST /sandboxes. What is absent or null is not set.
struct CreateBody {
  std::optional<std::string> profile;
  std::optional<std::string> template_id;  ///< "template"
  std::optional<std::string> memory;       ///< as sent; see read_size
  std::optional<double> cpu;
  std::optional<std::string> storage;
  std::int64_t ttl = 0;
  Labels labels;
  std::optional<SandboxSpec> spec;
  bool cold = false;                       ///< make a fresh one even when a pool has one ready
};
std::string write(const CreateRequest& request, bool cold = false);
/// Errors: invalid_argument, also for an empty text. Does not check label sizes.
Result<CreateBody> read_create(std::string_view json);

std::string write(const SandboxInfo& info);
std::string write(const std::vector<SandboxInfo>& list);
Result<SandboxInfo> read_sandbox(std::string_view json);
Result<std::vector<SandboxInfo>> read_sandboxes(std::string_view json);

// ---- the rest ---------------------------------------------------------------------------------------------------------

/// `cpu_percent`: of one core, since the previous look; the other percentages are worked out here.
std::string write(const SandboxStats& stats, double cpu_percent);
Result<SandboxStats> read_stats(std::string_view json);

std::string write(const ServiceTemplate& saved);
std::string write(const std::vector<ServiceTemplate>& list);
Result<ServiceTemplate> read_template(std::string_view json);
Result<std::vector<ServiceTemplate>> read_templates(std::string_view json);
/// Body of POST /templates.
struct TemplateBody {
  std::string sandbox_id;
  std::optional<std::string> label;
};
std::string write(const TemplateBody& body);
Result<TemplateBody> read_template_body(std::string_view json);

/// `url` names localhost, `host_address` where it listens.
std::string write(const ExposedPort& port);
std::string write(const std::vector<ExposedPort>& list);
Result<ExposedPort> read_port(std::string_view json);
Result<std::vector<ExposedPort>> read_ports(std::string_view json);
/// Body of POST …/expose: seconds, and a wished host port (0: any).
struct ExposeBody {
  std::optional<double> timeout;
  std::uint16_t host_port = 0;
};
std::string write(const ExposeBody& body);
Result<ExposeBody> read_expose(std::string_view json);

std::string write(const ProfileInfo& profile);
std::string write(const std::vector<ProfileInfo>& list);
Result<std::vector<ProfileInfo>> read_profiles(std::string_view json);

std::string write(const PoolInfo& pool);
/// The members that a pool of a daemon and one of a runtime have in common, into the object that is open.
void put_numbers(JsonWriter& json, const PoolStats& pool);
std::string write(const std::vector<PoolInfo>& list);
Result<std::vector<PoolInfo>> read_pools(std::string_view json);
/// Body of PUT /pools/{profile}: {"count":n}. Negative numbers are read; the caller refuses them with its own words.
Result<std::int64_t> read_count(std::string_view json);

std::string write(const ServiceEvent& event);
Result<ServiceEvent> read_event(std::string_view json);
std::string write(const EventHistory& history);
Result<EventHistory> read_history(std::string_view json);

std::string write(const Health& health);
Result<Health> read_health(std::string_view json);

}  // namespace sandbox::rest
