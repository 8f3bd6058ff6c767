#include "rest/forms.hpp"

/// What a daemon tells about itself: profiles, pools, events, health.
namespace sandbox::rest {
namespace {

void put(JsonWriter& json, const ProfileInfo& profile) {
  json.begin_object()
      .member("name", profile.name)
      .member("image", profile.image)
      .member("memory", profile.memory)
      .member("cpu", profile.cpus)
      .member("storage", profile.storage)
      .end_object();
}

Result<ProfileInfo> profile_of(const Value& value) {
  ProfileInfo profile;
  auto taken = value.each_member([&](const Value& member) -> Result<void> {
    if (member.is("name")) return member.into(profile.name);
    if (member.is("image")) return member.into(profile.image);
    if (member.is("memory")) return member.into(profile.memory);
    if (member.is("cpu")) return member.into(profile.cpus);
    if (member.is("storage")) return member.into(profile.storage);
    return {};
  });
  if (!taken) return std::move(taken).error();
  return profile;
}

void put(JsonWriter& json, const ServiceEvent& event) {
  json.begin_object().member("id", event.id).member("type", event.type).member("sandbox_id", event.sandbox_id);
  if (!event.identity.empty()) json.member("identity", event.identity);
  json.member("timestamp", write_time(event.time));
  if (!event.data.empty()) json.key("data").raw(event.data);
  json.end_object();
}

Result<ServiceEvent> event_of(const Value& value) {
  ServiceEvent event;
  auto taken = value.each_member([&](const Value& member) -> Result<void> {
    if (member.is("id")) return member.into(event.id);
    if (member.is("type")) return member.into(event.type);
    if (member.is("sandbox_id")) return member.into(event.sandbox_id);
    if (member.is("identity")) return member.into(event.identity);
    if (member.is("timestamp")) {
      if (!member.is_string()) return member.wrong("a time");
      SANDBOX_TRY(event.time, read_time(member.text()));
    } else if (member.is("data") && !member.is_null()) {
      event.data = member.compact();
    }
    return {};
  });
  if (!taken) return std::move(taken).error();
  return event;
}

}  // namespace

void put_numbers(JsonWriter& json, const PoolStats& pool) {
  json.member("target", pool.target)
      .member("warming", pool.warming)
      .member("hits", pool.hits)
      .member("misses", pool.misses)
      .member("replaced", pool.replaced)
      .member("failures", pool.failures)
      .member("refill_ms", std::chrono::duration<double, std::milli>(pool.refill_time).count());
}

void put(JsonWriter& json, const PoolInfo& pool) {
  json.begin_object()
      .member("profile", pool.profile)
      .member("image", pool.image)
      .member("ready", pool.ready)
      .member("memory", pool.memory)
      .member("cpu", pool.cpus);
  put_numbers(json, pool);
  json.end_object();
}

Result<PoolInfo> pool_of(const Value& value) {
  PoolInfo pool;
  auto taken = value.each_member([&](const Value& member) -> Result<void> {
    if (member.is("profile")) return member.into(pool.profile);
    if (member.is("image")) return member.into(pool.image);
    if (member.is("ready")) return member.into(pool.ready);
    if (member.is("memory")) return member.into(pool.memory);
    if (member.is("cpu")) return member.into(pool.cpus);
    if (member.is("target")) return member.into(pool.target);
    if (member.is("warming")) return member.into(pool.warming);
    if (member.is("hits")) return member.into(pool.hits);
    if (member.is("misses")) return member.into(pool.misses);
    if (member.is("replaced")) return member.into(pool.replaced);
    if (member.is("failures")) return member.into(pool.failures);
    if (member.is("refill_ms")) {
      double time = 0;
      SANDBOX_CHECK(member.into(time));
      if (!(time >= 0 && time < 1e12)) return member.wrong("a time in milliseconds");
      pool.refill_time = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double, std::milli>(time));
    }
    return {};
  });
  if (!taken) return std::move(taken).error();
  return pool;
}

std::string write(const ProfileInfo& profile) {
  JsonWriter json;
  put(json, profile);
  return std::move(json).take();
}

std::string write(const std::vector<ProfileInfo>& list) {
  return write_list(list, [](JsonWriter& json, const ProfileInfo& profile) { put(json, profile); });
}

Result<std::vector<ProfileInfo>> read_profiles(std::string_view json) {
  return read_document<std::vector<ProfileInfo>>(json, [](const Value& value) { return value.list<ProfileInfo>(profile_of); });
}

std::string write(const PoolInfo& pool) {
  JsonWriter json;
  put(json, pool);
  return std::move(json).take();
}

std::string write(const std::vector<PoolInfo>& list) {
  return write_list(list, [](JsonWriter& json, const PoolInfo& pool) { put(json, pool); });
}

Result<std::vector<PoolInfo>> read_pools(std::string_view json) {
  return read_document<std::vector<PoolInfo>>(json, [](const Value& value) { return value.list<PoolInfo>(pool_of); });
}

Result<std::int64_t> read_count(std::string_view json) {
  return read_document<std::int64_t>(json, [](const Value& value) -> Result<std::int64_t> {
    std::int64_t count = 0;
    auto taken = value.each_member([&](const Value& member) -> Result<void> {
      if (member.is("count")) return member.into(count);
      return {};
    });
    if (!taken) return std::move(taken).error();
    return count;
  });
}

std::string write(const ServiceEvent& event) {
  JsonWriter json;
  put(json, event);
  return std::move(json).take();
}

Result<ServiceEvent> read_event(std::string_view json) { return read_document<ServiceEvent>(json, event_of); }

std::string write(const EventHistory& history) {
  JsonWriter json;
  json.begin_object().member("complete", history.complete).key("events").begin_array();
  for (const ServiceEvent& event : history.events) put(json, event);
  json.end_array().member("seq", history.last).end_object();
  return std::move(json).take();
}

Result<EventHistory> read_history(std::string_view json) {
  return read_document<EventHistory>(json, [](const Value& value) -> Result<EventHistory> {
    EventHistory history;
    auto taken = value.each_member([&](const Value& member) -> Result<void> {
      if (member.is("complete")) return member.into(history.complete);
      if (member.is("seq")) return member.into(history.last);
      if (member.is("events")) {
        SANDBOX_TRY(history.events, member.list<ServiceEvent>(event_of));
      }
      return {};
    });
    if (!taken) return std::move(taken).error();
    return history;
  });
}

std::string write(const Health& health) {
  JsonWriter json;
  json.begin_object().key("pool").begin_array();
  for (const PoolInfo& pool : health.pools) put(json, pool);
  json.end_array().member("sandboxes", health.sandboxes).member("status", health.status);
  if (!health.node_id.empty()) json.member("node_id", health.node_id);
  json.member("version", health.version).key("protocols").begin_array();
  for (const std::string& protocol : health.protocols) json.value(protocol);
  json.end_array().end_object();
  return std::move(json).take();
}

Result<Health> read_health(std::string_view json) {
  return read_document<Health>(json, [](const Value& value) -> Result<Health> {
    Health health;
    auto taken = value.each_member([&](const Value& member) -> Result<void> {
      if (member.is("status")) return member.into(health.status);
      if (member.is("sandboxes")) return member.into(health.sandboxes);
      if (member.is("node_id")) return member.into(health.node_id);
      if (member.is("version")) return member.into(health.version);
      if (member.is("protocols")) return member.into(health.protocols);
      if (member.is("pool")) {
        SANDBOX_TRY(health.pools, member.list<PoolInfo>(pool_of));
      }
      return {};
    });
    if (!taken) return std::move(taken).error();
    return health;
  });
}

}  // namespace sandbox::rest
