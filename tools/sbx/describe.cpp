#include "describe.hpp"

#include <chrono>

#include "output.hpp"

namespace sbx {

const char* name(sandbox::SandboxState state) noexcept {
  switch (state) {
    case sandbox::SandboxState::creating: return "creating";
    case sandbox::SandboxState::running: return "running";
    case sandbox::SandboxState::paused: return "paused";
    case sandbox::SandboxState::disconnected: return "disconnected";
    case sandbox::SandboxState::stopping: return "stopping";
    case sandbox::SandboxState::stopped: return "stopped";
  }
  return "unknown";
}

const char* name(sandbox::FileType type) noexcept {
  switch (type) {
    case sandbox::FileType::regular: return "file";
    case sandbox::FileType::directory: return "directory";
    case sandbox::FileType::symlink: return "symlink";
    case sandbox::FileType::fifo: return "fifo";
    case sandbox::FileType::socket: return "socket";
    case sandbox::FileType::character: return "character";
    case sandbox::FileType::block: return "block";
    case sandbox::FileType::unknown: break;
  }
  return "unknown";
}

Json to_json(const sandbox::SandboxInfo& info) {
  Json json = Json::object();
  json.add("id", info.id).add("image", info.image).add("state", name(info.state)).add("created", utc_time(info.created));
  json.add("ttl", static_cast<std::int64_t>(info.ttl.count()));
  if (!info.profile.empty()) json.add("profile", info.profile);
  if (!info.template_id.empty()) json.add("template", info.template_id);
  Json labels = Json::object();
  for (const auto& [key, value] : info.labels) labels.add(key, value);
  json.add("labels", labels);
  if (!info.unenforced.empty()) {
    Json list = Json::array();
    for (const auto& line : info.unenforced) list.push(line);
    json.add("unenforced", list);
  }
  return json;
}

Json to_json(const sandbox::SandboxStats& stats, double cpu_percent) {
  const double limit = static_cast<double>(stats.memory_limit.bytes());
  return Json::object()
      .add("cpu_percent", cpu_percent)
      .add("cpu_time_ns", static_cast<std::int64_t>(stats.cpu_time.count()))
      .add("memory_usage_bytes", stats.memory.bytes())
      .add("memory_peak_bytes", stats.memory_peak.bytes())
      .add("memory_limit_bytes", stats.memory_limit.bytes())
      .add("memory_percent", limit > 0 ? 100 * static_cast<double>(stats.memory.bytes()) / limit : 0.0)
      .add("network_rx_bytes", stats.network_rx_bytes)
      .add("network_tx_bytes", stats.network_tx_bytes)
      .add("pids", stats.pids)
      .add("disk_used_bytes", stats.disk_used.bytes())
      .add("inodes_used", stats.inodes_used)
      .add("oom_kills", stats.oom_kills)
      .add("uptime_seconds", std::chrono::duration<double>(stats.uptime).count());
}

Json to_json(const sandbox::TemplateInfo& info) {
  return Json::object().add("id", info.id).add("label", info.label).add("digest", info.digest).add("size", info.size.bytes())
      .add("image", info.image.to_string()).add("writable_root", info.writable_root).add("created", utc_time(info.created));
}

Json to_json(const sandbox::ServiceTemplate& info) {
  Json json = to_json(static_cast<const sandbox::TemplateInfo&>(info));
  json.add("backend", info.backend);
  if (!info.identity.empty()) json.add("identity", info.identity);
  if (info.last_used) json.add("last_used", utc_time(*info.last_used));
  else json.add_null("last_used");
  return json;
}

Json to_json(const sandbox::PoolInfo& info) {
  return Json::object().add("profile", info.profile).add("image", info.image).add("ready", info.ready).add("target", info.target)
      .add("warming", info.warming).add("memory", info.memory).add("cpu", info.cpus).add("hits", info.hits).add("misses", info.misses)
      .add("replaced", info.replaced).add("failures", info.failures)
      .add("refill_ms", std::chrono::duration<double, std::milli>(info.refill_time).count());
}

Json to_json(const sandbox::ServiceEvent& event) {
  Json json = Json::object();
  json.add("id", event.id).add("type", event.type).add("sandbox_id", event.sandbox_id);
  if (!event.identity.empty()) json.add("identity", event.identity);
  json.add("timestamp", utc_time(event.time));
  if (!event.data.empty()) json.add_json("data", event.data);
  return json;
}

Json to_json(const sandbox::Health& health) {
  Json json = Json::object();
  json.add("status", health.status).add("sandboxes", health.sandboxes);
  if (!health.version.empty()) json.add("version", health.version);
  if (!health.node_id.empty()) json.add("node_id", health.node_id);
  Json protocols = Json::array(), pools = Json::array();
  for (const auto& one : health.protocols) protocols.push(one);
  for (const auto& one : health.pools) pools.push(to_json(one));
  return json.add("protocols", protocols).add("pool", pools);
}

Json to_json(const sandbox::FileInfo& info) {
  Json json = Json::object();
  json.add("name", info.path).add("type", name(info.type)).add("size", info.size).add("mode", info.mode).add("uid", info.uid);
  json.add("gid", info.gid);
  json.add("modified",
           utc_time(std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(info.modified))));
  if (info.type == sandbox::FileType::symlink) json.add("target", info.target);
  return json;
}

Json to_json(const sandbox::TransferSummary& summary) {
  Json skipped = Json::array();
  for (const auto& one : summary.skipped) skipped.push(one);
  return Json::object().add("entries", summary.entries).add("bytes", summary.bytes).add("skipped", skipped);
}

}  // namespace sbx
