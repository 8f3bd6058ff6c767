#include "json.hpp"

#include "rest/rest.hpp"

namespace sandbox::c {
namespace {

/// A runtime has one store and no tenants: it keeps its templates in the form a daemon shows.
ServiceTemplate shown(const TemplateInfo& saved) {
  ServiceTemplate as_service;
  static_cast<TemplateInfo&>(as_service) = saved;
  as_service.backend = "native";
  return as_service;
}

std::string_view type_of(RuntimeEvent::Kind kind) {
  switch (kind) {
    case RuntimeEvent::Kind::created: return "sandbox.created";
    case RuntimeEvent::Kind::destroyed: return "sandbox.destroyed";
    case RuntimeEvent::Kind::lost: return "sandbox.lost";
    case RuntimeEvent::Kind::adopted: return "sandbox.adopted";
    case RuntimeEvent::Kind::pool_refilled: return "pool.refilled";
    case RuntimeEvent::Kind::pool_member_replaced: return "pool.member_replaced";
    case RuntimeEvent::Kind::pool_refill_failed: return "pool.refill_failed";
    case RuntimeEvent::Kind::template_saved: return "template.saved";
    case RuntimeEvent::Kind::template_removed: return "template.removed";
    case RuntimeEvent::Kind::launcher_restarted: return "launcher.restarted";
  }
  return "unknown";
}

/// What the event's detail is.
std::string_view key_of(RuntimeEvent::Kind kind) {
  switch (kind) {
    case RuntimeEvent::Kind::created: return "start";  // "warm", "cold"
    case RuntimeEvent::Kind::lost: return "reason";
    case RuntimeEvent::Kind::template_saved:
    case RuntimeEvent::Kind::template_removed: return "template";
    default: return "detail";
  }
}

void put_lines(rest::JsonWriter& json, std::string_view key, const std::vector<std::string>& lines) {
  json.key(key).begin_array();
  for (const std::string& line : lines) json.value(line);
  json.end_array();
}

}  // namespace

std::string write_json(const std::vector<PoolStats>& pools) {
  rest::JsonWriter json;
  json.begin_array();
  for (const PoolStats& pool : pools) {
    json.begin_object().member("profile", pool.profile).member("ready", pool.ready);
    rest::put_numbers(json, pool);
    json.end_object();
  }
  return std::move(json.end_array()).take();
}

std::string write_json(const TemplateInfo& saved) { return rest::write(shown(saved)); }

std::string write_json(const std::vector<TemplateInfo>& list) {
  std::vector<ServiceTemplate> all;
  all.reserve(list.size());
  for (const TemplateInfo& saved : list) all.push_back(shown(saved));
  return rest::write(all);
}

std::string write_json(const std::vector<PrunedLayer>& layers) {
  rest::JsonWriter json;
  json.begin_array();
  for (const PrunedLayer& layer : layers)
    json.begin_object().member("digest", layer.digest).member("size", layer.size.bytes()).member("last_used", rest::write_time(layer.last_used)).end_object();
  return std::move(json.end_array()).take();
}

std::string write_json(const HostReport& report) {
  rest::JsonWriter json;
  json.begin_object().member("backend", report.backend).member("rootless", report.rootless);
  put_lines(json, "enforced", report.enforced);
  put_lines(json, "unenforced", report.unenforced);
  json.end_object();
  return std::move(json).take();
}

std::string write_json(const RuntimeEvent& event) {
  ServiceEvent shown;
  shown.type = type_of(event.kind);
  shown.sandbox_id = event.sandbox_id;
  shown.time = event.time;
  if (!event.detail.empty()) {
    rest::JsonWriter data;
    data.begin_object().member(key_of(event.kind), event.detail).end_object();
    shown.data = std::move(data).take();
  }
  return rest::write(shown);
}

}  // namespace sandbox::c
