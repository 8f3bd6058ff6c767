#include "server/config_schema.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "core/text.hpp"
#include "server/auth.hpp"

namespace sandbox::server::schema {
namespace {

using namespace std::chrono;

std::string must(const std::string& key, std::string_view what) { return key + " must be " + std::string(what); }

// ---- one reader per kind of value; `target` is set only by a good one ------------------------------------------------

void take(Report& report, const std::string& key, const Value& value, std::string& target) {
  if (value.kind != Value::Kind::text) return report.error(key, must(key, "a string"));
  if (value.text.find('\0') != std::string::npos) return report.error(key, must(key, "without NUL bytes"));
  target = value.text;
}

void take(Report& report, const std::string& key, const Value& value, bool& target) {
  if (value.kind != Value::Kind::boolean) return report.error(key, must(key, "true or false"));
  target = value.boolean;
}

void take(Report& report, const std::string& key, const Value& value, double& target) {
  const double number = value.kind == Value::Kind::integer ? static_cast<double>(value.integer) : value.number;
  if (value.kind != Value::Kind::number && value.kind != Value::Kind::integer) {
    return report.error(key, must(key, "a number"));
  }
  if (!(number > 0) || number > 1e6) return report.error(key, must(key, "positive"));
  target = number;
}

template <class Integer>
  requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>)
void take(Report& report, const std::string& key, const Value& value, Integer& target) {
  if (value.kind != Value::Kind::integer) return report.error(key, must(key, "an integer"));
  if (value.integer < 0) {
    if (key == "limits.max_sandboxes") return report.error(key, "limits.max_sandboxes must be positive");
    if (key.find("tunnel_port_") != key.npos) return report.error(key, "tunnel port range values must be non-negative");
    return report.error(key, must(key, "non-negative"));
  }
  if (static_cast<std::uint64_t>(value.integer) > std::numeric_limits<Integer>::max()) {
    return report.error(key, must(key, "at most " + std::to_string(std::numeric_limits<Integer>::max())));
  }
  target = static_cast<Integer>(value.integer);
}

void take(Report& report, const std::string& key, const Value& value, seconds& target) {
  std::uint32_t count = 0;
  if (value.kind == Value::Kind::integer && value.integer == 0) {
    target = seconds(0);
    return;
  }
  take(report, key, value, count);
  if (count > 0) target = seconds(count);
}

/// A size: text with a suffix, or a number of bytes.
void take_size(Report& report, const std::string& key, const Value& value, std::uint64_t& target, std::string* text = nullptr) {
  std::optional<std::uint64_t> size;
  if (value.kind == Value::Kind::text) size = parse_size(value.text);
  if (value.kind == Value::Kind::integer && value.integer >= 0) size = static_cast<std::uint64_t>(value.integer);
  if (!size || *size > 1ull << 50) return report.error(key, must(key, "a size like \"512m\""));
  target = *size;
  if (text != nullptr) *text = value.kind == Value::Kind::text ? value.text : std::to_string(*size);
}

/// Ours: wrong is an error.
void take_time(Report& report, const std::string& key, const Value& value, nanoseconds& target) {
  const auto time = value.kind == Value::Kind::text ? parse_duration(value.text) : std::nullopt;
  if (!time) return report.error(key, must(key, "a duration like \"30s\" or \"1m30s\""));
  if (*time <= nanoseconds(0)) return report.error(key, must(key, "positive"));
  target = *time;
}

/// The specification's: wrong falls back to the default.
void take_time_leniently(Report& report, const std::string& key, const Value& value, nanoseconds& target) {
  if (value.kind != Value::Kind::text) return report.error(key, must(key, "a duration like \"30s\" or \"1m30s\""));
  const auto time = parse_duration(value.text);
  if (!time || *time <= nanoseconds(0)) {
    return report.warning(key, key + " \"" + value.text + "\" is not a positive duration; the default is used");
  }
  target = *time;
}

template <class Item, class Parse>
void take_list(Report& report, const std::string& key, const Value& value, std::vector<Item>& target, Parse&& parse,
               std::string_view item) {
  if (value.kind != Value::Kind::texts) return report.error(key, must(key, "an array of strings"));
  for (std::size_t i = 0; i < value.texts.size(); ++i) {
    if (const auto parsed = parse(value.texts[i])) {
      target.push_back(*parsed);
    } else {  // never shows the text: it may be a secret
      report.error(key, key + ": entry " + std::to_string(i + 1) + " is not " + std::string(item));
    }
  }
}

std::optional<PublicKey> parse_public_key(const std::string& text) {
  const auto raw = decode_base64(text, 32);
  if (!raw || raw->size() != 32) return std::nullopt;
  PublicKey key;
  std::copy(raw->begin(), raw->end(), key.begin());
  return key;
}

// ---- the tables --------------------------------------------------------------------------------------------------------

enum class When : std::uint8_t { live, restart };

template <class Access, class Read>
Setting setting(std::string_view key, When when, Access access, Read read) {
  return Setting{key, when == When::live,
                 [access, read](Report& report, const std::string& name, const Value& value, Config& config) {
                   read(report, name, value, access(config));
                 },
                 [access](const Config& a, const Config& b) {
                   return access(const_cast<Config&>(a)) == access(const_cast<Config&>(b));
                 }};
}

template <class Access>
Setting setting(std::string_view key, When when, Access access) {
  return setting(key, when, access, [](Report& report, const std::string& name, const Value& value, auto& target) {
    take(report, name, value, target);
  });
}

/// Known, and of no use to this daemon.
Setting unused(std::string_view key) {
  return Setting{key, true,
                 [](Report& report, const std::string& name, const Value&, Config&) {
                   report.warning(name, name + " has no effect in this daemon");
                 },
                 [](const Config&, const Config&) { return true; }};
}

void read_size(Report& report, const std::string& key, const Value& value, std::uint64_t& target) {
  take_size(report, key, value, target);
}

void read_level(Report& report, const std::string& key, const Value& value, LogLevel& target) {
  if (value.kind == Value::Kind::text) {
    if (value.text == "debug") return void(target = LogLevel::debug);
    if (value.text == "info") return void(target = LogLevel::info);
    if (value.text == "warning" || value.text == "warn") return void(target = LogLevel::warning);
    if (value.text == "error") return void(target = LogLevel::error);
  }
  report.error(key, must(key, "debug, info, warning or error"));
}

void read_format(Report& report, const std::string& key, const Value& value, bool& json) {
  if (value.kind != Value::Kind::text || (value.text != "json" && value.text != "text")) {
    return report.error(key, must(key, "json or text"));
  }
  json = value.text == "json";
}

void read_keys(Report& report, const std::string& key, const Value& value, std::vector<PublicKey>& target) {
  take_list(report, key, value, target, parse_public_key, "a public key (base64 of 32 bytes)");
}

void read_tokens(Report& report, const std::string& key, const Value& value, std::vector<TokenHash>& target) {
  take_list(report, key, value, target, [](const std::string& text) { return hash_token(text); },
            "a token (at least 16 characters, or sha256: and 64 hexadecimal digits)");
}

#define AT(member) [](Config& config) -> auto& { return config.member; }

std::vector<Setting> make_settings() {
  return {
      setting("server.socket", When::restart, AT(server.socket)),
      setting("server.tcp", When::restart, AT(server.tcp)),
      setting("server.tls_cert", When::restart, AT(server.tls_cert)),
      setting("server.tls_key", When::restart, AT(server.tls_key)),
      setting("server.data_dir", When::restart, AT(server.data_dir)),
      setting("server.node_id", When::restart, AT(server.node_id)),
      setting("server.tokens", When::live, AT(server.tokens), read_tokens),
      setting("server.token_file", When::live, AT(server.token_file)),
      setting("server.allow_unauthenticated", When::live, AT(server.allow_unauthenticated)),
      setting("server.keep_sandboxes_on_stop", When::live, AT(server.keep_sandboxes_on_stop)),
      setting("server.require_proof", When::restart, AT(server.require_proof)),
      setting("server.header_timeout", When::restart, AT(server.header_timeout), take_time),
      setting("server.idle_timeout", When::restart, AT(server.idle_timeout), take_time),
      setting("server.max_connections", When::restart, AT(server.max_connections)),
      setting("multi_tenant.enabled", When::live, AT(multi_tenant.enabled)),
      setting("multi_tenant.public_keys", When::live, AT(multi_tenant.public_keys), read_keys),
      setting("multi_tenant.require_nonce", When::live, AT(multi_tenant.require_nonce)),
      setting("limits.max_sandboxes", When::live, AT(limits.max_sandboxes)),
      setting("limits.max_memory", When::live, AT(limits.max_memory), read_size),
      setting("limits.max_cpu", When::live, AT(limits.max_cpu)),
      setting("limits.max_ttl", When::live, AT(limits.max_ttl)),
      setting("limits.max_templates", When::live, AT(limits.max_templates)),
      setting("limits.max_template_size", When::live, AT(limits.max_template_size), read_size),
      setting("limits.template_expiry_days", When::live, AT(limits.template_expiry_days)),
      setting("limits.create_rate_limit", When::live, AT(limits.create_rate_limit)),
      setting("limits.rate_limit_entries", When::live, AT(limits.rate_limit_entries)),
      setting("limits.max_tunnels", When::live, AT(limits.max_tunnels)),
      setting("limits.max_connections_per_tunnel", When::live, AT(limits.max_connections_per_tunnel)),
      setting("limits.tunnel_bind_address", When::live, AT(limits.tunnel_bind_address)),
      setting("limits.tunnel_port_min", When::live, AT(limits.tunnel_port_min)),
      setting("limits.tunnel_port_max", When::live, AT(limits.tunnel_port_max)),
      setting("limits.allow_host_paths", When::live, AT(limits.allow_host_paths)),
      setting("limits.resume_grace", When::live, AT(limits.resume_grace), take_time),
      setting("limits.create_wait", When::live, AT(limits.create_wait), take_time),
      setting("pool.total_warm", When::live, AT(pool.total_warm)),
      setting("pool.min_per_image", When::live, AT(pool.min_per_image)),
      setting("pool.min_base", When::live, AT(pool.min_base)),
      setting("pool.max_warm", When::restart, AT(pool.max_warm)),
      setting("pool.rebalance_window", When::restart, AT(pool.rebalance_window), take_time_leniently),
      setting("pool.health_interval", When::restart, AT(pool.health_interval), take_time_leniently),
      setting("pool.liveness_timeout", When::restart, AT(pool.liveness_timeout), take_time_leniently),
      setting("log.level", When::live, AT(log.level), read_level),
      setting("log.format", When::restart, AT(log.json), read_format),
      unused("network.bridge_name"),
      unused("firecracker.binary_path"),
      unused("firecracker.kernel_path"),
      unused("firecracker.rootfs_dir"),
      unused("firecracker.vsock_cid_base"),
  };
}
#undef AT

template <class Access>
ProfileSetting profile_setting(std::string_view key, Access access) {
  return {key, [access](Report& report, const std::string& name, const Value& value, ProfileConfig& profile) {
            take(report, name, value, access(profile));
          }};
}

std::vector<ProfileSetting> make_profile_settings() {
  return {
      profile_setting("image", [](ProfileConfig& p) -> auto& { return p.image; }),
      profile_setting("cpu", [](ProfileConfig& p) -> auto& { return p.cpu; }),
      profile_setting("runtime", [](ProfileConfig& p) -> auto& { return p.runtime; }),
      profile_setting("network", [](ProfileConfig& p) -> auto& { return p.network; }),
      profile_setting("writable_root", [](ProfileConfig& p) -> auto& { return p.writable_root; }),
      {"memory", [](Report& report, const std::string& name, const Value& value,
                    ProfileConfig& p) { take_size(report, name, value, p.memory_bytes, &p.memory); }},
      {"storage", [](Report& report, const std::string& name, const Value& value,
                     ProfileConfig& p) { take_size(report, name, value, p.storage_bytes, &p.storage); }},
  };
}

/// Levenshtein's distance; both texts are short.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string_view last_part(std::string_view key) { return key.substr(key.rfind('.') + 1); }
std::string_view section(std::string_view key) { return key.substr(0, key.rfind('.') + 1); }

}  // namespace

Diagnostic Report::about(const std::string& key, std::string_view text) const {
  Diagnostic made{file_, 0, 0, core::escape_control(text)};
  if (const auto found = places_.find(key); found != places_.end()) std::tie(made.line, made.column) = found->second;
  return made;
}

const std::vector<Setting>& settings() {
  static const std::vector<Setting> all = make_settings();
  return all;
}

const std::vector<ProfileSetting>& profile_settings() {
  static const std::vector<ProfileSetting> all = make_profile_settings();
  return all;
}

std::string similar_key(std::string_view key) {
  if (key.size() > 200) return {};
  const std::string_view name = last_part(key);
  std::size_t best = std::max<std::size_t>(1, name.size() / 3) + 1;
  std::string found;
  const auto consider = [&](std::string_view candidate, std::string shown) {
    const std::size_t far = distance(name, candidate);
    if (far < best) best = far, found = std::move(shown);
  };
  if (key.substr(0, 10) == "pool.base.") {
    for (const ProfileSetting& one : profile_settings()) consider(one.key, std::string(one.key));
    return found;
  }
  for (const Setting& one : settings()) {
    const bool sibling = section(one.key) == section(key);
    // The same name in another section is most likely a forgotten [section]; a similar name there is likely nothing.
    if (sibling) consider(last_part(one.key), std::string(last_part(one.key)));
    else if (last_part(one.key) == name) consider(name, std::string(one.key));
  }
  return found;
}

}  // namespace sandbox::server::schema
