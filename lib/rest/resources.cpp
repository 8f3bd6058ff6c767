#include <cmath>

#include "rest/forms.hpp"

/// What belongs to a sandbox: numbers, templates, ports.
namespace sandbox::rest {
namespace {

double rounded(double number) { return std::round(number * 100) / 100; }
/// No sandbox has been up for longer; a bigger number would not fit the clock.
constexpr double kMaxUptime = 9e9;

void put(JsonWriter& json, const ServiceTemplate& saved) {
  json.begin_object()
      .member("id", saved.id)
      .member("label", saved.label)
      .member("image", "sandbox:" + saved.id)
      .member("backend", saved.backend);
  if (!saved.identity.empty()) json.member("identity", saved.identity);
  json.member("size", saved.size.bytes())
      .member("created_at", write_time(saved.created))
      .member("last_used", saved.last_used ? write_time(*saved.last_used) : "0001-01-01T00:00:00Z")
      .member("digest", saved.digest);
  rest::put(json.key("base"), saved.image);
  rest::put(json.key("limits"), saved.limits);
  json.member("writable_root", saved.writable_root).end_object();
}

Result<ServiceTemplate> template_of(const Value& value) {
  ServiceTemplate saved;
  auto taken = value.each_member([&](const Value& member) -> Result<void> {
    if (member.is("id")) return member.into(saved.id);
    if (member.is("label")) return member.into(saved.label);
    if (member.is("backend")) return member.into(saved.backend);
    if (member.is("identity")) return member.into(saved.identity);
    if (member.is("digest")) return member.into(saved.digest);
    if (member.is("writable_root")) return member.into(saved.writable_root);
    if (member.is("size")) {
      std::uint64_t bytes = 0;
      SANDBOX_CHECK(member.into(bytes));
      saved.size = ByteCount(bytes);
    } else if (member.is("created_at")) {
      if (!member.is_string()) return member.wrong("a time");
      SANDBOX_TRY(saved.created, read_time(member.text()));
    } else if (member.is("last_used") && !member.is_null()) {
      if (!member.is_string()) return member.wrong("a time");
      if (member.text().starts_with("0001-")) return {};  // how the old daemon says never
      SANDBOX_TRY(saved.last_used, read_time(member.text()));
    } else if (member.is("base")) {
      SANDBOX_TRY(saved.image, image_of(member));
    } else if (member.is("limits")) {
      SANDBOX_TRY(saved.limits, limits_of(member));
    }
    return {};
  });
  if (!taken) return std::move(taken).error();
  if (saved.id.empty()) return Error(ErrorCode::invalid_argument, "a template without an id");
  return saved;
}

void put(JsonWriter& json, const ExposedPort& port) {
  json.begin_object()
      .member("port", std::uint32_t{port.port})
      .member("host_port", std::uint32_t{port.host_port})
      .member("url", "http://localhost:" + std::to_string(port.host_port))
      .member("host_address", port.host_address)
      .end_object();
}

Result<ExposedPort> port_of(const Value& value) {
  ExposedPort port;
  auto taken = value.each_member([&](const Value& member) -> Result<void> {
    if (member.is("port")) return member.into(port.port);
    if (member.is("host_port")) return member.into(port.host_port);
    if (member.is("host_address")) return member.into(port.host_address);
    return {};
  });
  if (!taken) return std::move(taken).error();
  return port;
}

}  // namespace

std::string write(const SandboxStats& stats, double cpu_percent) {
  const auto limit = static_cast<double>(stats.memory_limit.bytes());
  JsonWriter json;
  json.begin_object()
      .member("cpu_percent", rounded(cpu_percent))
      .member("memory_usage_bytes", stats.memory.bytes())
      .member("memory_limit_bytes", stats.memory_limit.bytes())
      .member("memory_percent", limit > 0 ? rounded(100 * static_cast<double>(stats.memory.bytes()) / limit) : 0.0)
      .member("network_rx_bytes", stats.network_rx_bytes)
      .member("network_tx_bytes", stats.network_tx_bytes)
      .member("pids", stats.pids)
      .member("uptime_seconds", rounded(std::chrono::duration<double>(stats.uptime).count()))
      .member("cpu_time_ns", static_cast<std::int64_t>(stats.cpu_time.count()))
      .member("memory_peak_bytes", stats.memory_peak.bytes())
      .member("disk_used_bytes", stats.disk_used.bytes())
      .member("inodes_used", stats.inodes_used)
      .member("oom_kills", stats.oom_kills)
      .end_object();
  return std::move(json).take();
}

Result<SandboxStats> read_stats(std::string_view json) {
  return read_document<SandboxStats>(json, [](const Value& value) -> Result<SandboxStats> {
    SandboxStats stats;
    const auto bytes = [](const Value& member, ByteCount& target) -> Result<void> {
      std::uint64_t number = 0;
      SANDBOX_CHECK(member.into(number));
      target = ByteCount(number);
      return {};
    };
    auto taken = value.each_member([&](const Value& member) -> Result<void> {
      if (member.is("memory_usage_bytes")) return bytes(member, stats.memory);
      if (member.is("memory_limit_bytes")) return bytes(member, stats.memory_limit);
      if (member.is("memory_peak_bytes")) return bytes(member, stats.memory_peak);
      if (member.is("disk_used_bytes")) return bytes(member, stats.disk_used);
      if (member.is("inodes_used")) return member.into(stats.inodes_used);
      if (member.is("network_rx_bytes")) return member.into(stats.network_rx_bytes);
      if (member.is("network_tx_bytes")) return member.into(stats.network_tx_bytes);
      if (member.is("pids")) return member.into(stats.pids);
      if (member.is("oom_kills")) return member.into(stats.oom_kills);
      if (member.is("uptime_seconds")) {
        double seconds = 0;
        SANDBOX_CHECK(member.into(seconds));
        if (!(seconds >= 0 && seconds < kMaxUptime)) return member.wrong("a time in seconds");
        stats.uptime = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
      } else if (member.is("cpu_time_ns")) {
        std::int64_t time = 0;
        SANDBOX_CHECK(member.into(time));
        stats.cpu_time = std::chrono::nanoseconds(time);
      }
      return {};
    });
    if (!taken) return std::move(taken).error();
    return stats;
  });
}

std::string write(const ServiceTemplate& saved) {
  JsonWriter json;
  put(json, saved);
  return std::move(json).take();
}

std::string write(const std::vector<ServiceTemplate>& list) {
  return write_list(list, [](JsonWriter& json, const ServiceTemplate& saved) { put(json, saved); });
}

Result<ServiceTemplate> read_template(std::string_view json) { return read_document<ServiceTemplate>(json, template_of); }
Result<std::vector<ServiceTemplate>> read_templates(std::string_view json) {
  return read_document<std::vector<ServiceTemplate>>(json,
                                                     [](const Value& value) { return value.list<ServiceTemplate>(template_of); });
}

std::string write(const TemplateBody& body) {
  JsonWriter json;
  json.begin_object().member("sandbox_id", body.sandbox_id);
  if (body.label) json.member("label", *body.label);
  json.end_object();
  return std::move(json).take();
}

Result<TemplateBody> read_template_body(std::string_view json) {
  return read_document<TemplateBody>(json, [](const Value& value) -> Result<TemplateBody> {
    TemplateBody body;
    auto taken = value.each_member([&](const Value& member) -> Result<void> {
      if (member.is("sandbox_id")) return member.into(body.sandbox_id);
      if (member.is("label")) return member.into(body.label);
      return {};
    });
    if (!taken) return std::move(taken).error();
    return body;
  });
}

std::string write(const ExposedPort& port) {
  JsonWriter json;
  put(json, port);
  return std::move(json).take();
}

std::string write(const std::vector<ExposedPort>& list) {
  return write_list(list, [](JsonWriter& json, const ExposedPort& port) { put(json, port); });
}

Result<ExposedPort> read_port(std::string_view json) { return read_document<ExposedPort>(json, port_of); }
Result<std::vector<ExposedPort>> read_ports(std::string_view json) {
  return read_document<std::vector<ExposedPort>>(json, [](const Value& value) { return value.list<ExposedPort>(port_of); });
}

std::string write(const ExposeBody& body) {
  JsonWriter json;
  json.begin_object();
  if (body.timeout) json.member("timeout", *body.timeout);
  if (body.host_port != 0) json.member("host_port", std::uint32_t{body.host_port});
  json.end_object();
  return std::move(json).take();
}

Result<ExposeBody> read_expose(std::string_view json) {
  return read_document<ExposeBody>(json, [](const Value& value) -> Result<ExposeBody> {
    ExposeBody body;
    auto taken = value.each_member([&](const Value& member) -> Result<void> {
      if (member.is("timeout")) return member.into(body.timeout);
      if (member.is("host_port")) return member.into(body.host_port);
      return {};
    });
    if (!taken) return std::move(taken).error();
    return body;
  });
}

}  // namespace sandbox::rest
