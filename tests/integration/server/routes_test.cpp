#include <algorithm>
#include <thread>

#include "live_service.hpp"

// Routes of the daemon as a client sees them.
namespace sandbox::testing {
namespace {

class ServerRoutes : public LiveService {};

TEST_F(ServerRoutes, ASandboxIsCreatedListedAndDestroyed) {
  EXPECT_EQ(get("/sandboxes").body, "[]\n");
  const auto created = call("POST", "/sandboxes", R"({"TTL":60,"labels":{"a":"b:c"}})");
  ASSERT_EQ(created.status, 201u) << created.body;
  EXPECT_EQ(created.headers.get("Content-Type"), "application/json");
  const SandboxInfo info = rest::read_sandbox(created.body).value();
  EXPECT_TRUE(info.id.starts_with("sbx-")) << info.id;
  EXPECT_EQ(info.state, SandboxState::running);
  EXPECT_EQ(info.profile, "default");
  EXPECT_EQ(info.ttl, std::chrono::seconds(60));
  EXPECT_EQ(rest::read_sandboxes(get("/sandboxes?label=a:b:c").body).value().size(), 1u);
  EXPECT_EQ(rest::read_sandboxes(get("/sandboxes?label=a:x&status=all").body).value().size(), 0u);
  EXPECT_EQ(get("/sandboxes/" + info.id).status, 200u);
  EXPECT_EQ(call("DELETE", "/sandboxes/" + info.id).status, 204u);
  const auto again = call("DELETE", "/sandboxes/" + info.id);
  EXPECT_EQ(again.status, 404u);
  EXPECT_NE(again.body.find(R"("error":"sandbox not found")"), std::string::npos) << again.body;
  EXPECT_EQ(get("/sandboxes/" + info.id).status, 404u);
}

TEST_F(ServerRoutes, WhatIsNoRouteIsPlainText) {
  const auto unknown = get("/sandboxes/");
  EXPECT_EQ(unknown.status, 404u);
  EXPECT_EQ(unknown.body, "404 page not found\n");
  const auto wrong = call("PATCH", "/sandboxes");
  EXPECT_EQ(wrong.status, 405u);
  EXPECT_EQ(wrong.body, "Method Not Allowed\n");
  EXPECT_EQ(wrong.headers.get("Allow"), "GET, HEAD, POST");
  const auto unclean = get("/a/..//health?x=1");
  EXPECT_EQ(unclean.status, 301u);
  EXPECT_EQ(unclean.headers.get("Location"), "/health?x=1");
  EXPECT_EQ(call("HEAD", "/health").status, 200u);
}

TEST_F(ServerRoutes, BadBodiesAreRefused) {
  for (const std::string body : {"", "[]", "{", R"({"ttl":1.5})", R"({"ttl":"1"})", R"({"labels":{"a":1}})"})
    EXPECT_EQ(call("POST", "/sandboxes", body).status, 400u) << body;
  EXPECT_EQ(call("POST", "/sandboxes", std::string((1 << 20) + 1, ' ')).status, 400u);
  const auto many = call("POST", "/sandboxes", [] {
    std::string body = R"({"labels":{)";
    for (int i = 0; i < 65; ++i) body += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
    return body + "}}";
  }());
  EXPECT_EQ(many.status, 400u);
  EXPECT_NE(many.body.find("too many labels: 65 exceeds maximum of 64"), std::string::npos) << many.body;
  EXPECT_EQ(call("POST", "/sandboxes", R"({"profile":"none"})").status, 404u);
  EXPECT_EQ(call("POST", "/sandboxes", R"({"template":"tpl-00000000"})").status, 404u);
  EXPECT_EQ(call("POST", "/sandboxes", R"({"storage":"lots"})").status, 400u);
  EXPECT_EQ(rest::read_sandboxes(get("/sandboxes").body).value().size(), 0u);
}

TEST_F(ServerRoutes, ASpecOfOnesOwnStaysWithinPolicy) {
  const auto created = call("POST", "/sandboxes", R"({"spec":{"limits":{"memory":"96m","disk":"16m"},"env":{"A":"1"},"hostname":"own"}})");
  ASSERT_EQ(created.status, 201u) << created.body;
  const SandboxInfo info = rest::read_sandbox(created.body).value();
  ASSERT_TRUE(info.spec);
  EXPECT_EQ(info.spec->hostname(), "own");
  EXPECT_EQ(info.spec->limits().memory(), ByteCount::mib(96));
  const auto path = call("POST", "/sandboxes", R"({"spec":{"image":{"directory":"/etc"}}})");
  EXPECT_EQ(path.status, 403u) << path.body;
  const auto zero = call("POST", "/sandboxes", R"({"spec":{"limits":{"memory":0}}})");
  EXPECT_EQ(zero.status, 400u) << zero.body;
}

TEST_F(ServerRoutes, StatsAreOfNow) {
  const std::string id = create();
  const auto response = get("/sandboxes/" + id + "/stats");
  ASSERT_EQ(response.status, 200u) << response.body;
  for (const char* key : {"cpu_percent", "memory_usage_bytes", "memory_limit_bytes", "memory_percent", "network_rx_bytes",
                          "network_tx_bytes", "pids", "uptime_seconds", "cpu_time_ns", "memory_peak_bytes", "disk_used_bytes",
                          "inodes_used", "oom_kills"})
    EXPECT_NE(response.body.find(std::string("\"") + key + "\":"), std::string::npos) << key;
  const SandboxStats stats = rest::read_stats(response.body).value();
  EXPECT_GE(stats.pids, 1u);
}

TEST_F(ServerRoutes, APausedSandboxSaysSo) {
  const std::string id = create();
  EXPECT_EQ(call("POST", "/sandboxes/" + id + "/pause").status, 204u);
  EXPECT_EQ(state_of(id), SandboxState::paused);
  EXPECT_EQ(call("POST", "/sandboxes/" + id + "/ports/80/expose").status, 409u);
  EXPECT_EQ(call("POST", "/sandboxes/" + id + "/resume").status, 204u);
  EXPECT_EQ(state_of(id), SandboxState::running);
}

TEST_F(ServerRoutes, HealthPoolsAndProfilesTell) {
  ASSERT_TRUE(eventually([&] { return get("/health").body.find("\"ready\":1") != std::string::npos; })) << get("/health").body;
  const Health health = rest::read_health(get("/health").body).value();
  EXPECT_EQ(health.status, "ok");
  EXPECT_EQ(health.protocols, (std::vector<std::string>{"v1", "v2"}));
  ASSERT_EQ(health.pools.size(), 1u);
  EXPECT_EQ(health.pools[0].profile, "default");
  EXPECT_NE(get("/profiles").body.find(R"("memory":"64m")"), std::string::npos);
  EXPECT_EQ(call("PUT", "/pools/default", R"({"count":-1})").status, 400u);
  EXPECT_EQ(call("PUT", "/pools/none", R"({"count":1})").status, 404u);
  const auto resized = call("PUT", "/pools/default", R"({"count":2})");
  EXPECT_EQ(resized.status, 200u) << resized.body;
  EXPECT_EQ(resized.body, "{\"status\":\"ok\"}\n");
  EXPECT_GE(rest::read_pools(get("/pools").body).value().at(0).ready, 2u);
  EXPECT_EQ(call("POST", "/pools/default/flush").status, 200u);
  const auto before = rest::read_pools(get("/pools").body).value().at(0).hits;
  create();
  EXPECT_EQ(rest::read_pools(get("/pools").body).value().at(0).hits, before + 1);
  EXPECT_NE(get("/events/history").body.find(R"("method":"warm")"), std::string::npos);
  EXPECT_NE(get("/metrics").body.find(R"(sandboxd_sandbox_creates_total{method="warm"} 1)"), std::string::npos) << get("/metrics").body;
}

TEST_F(ServerRoutes, EventsStreamAsTheyHappen) {
  auto client = http::Client::make(http::Endpoint::parse(socket()).value()).value();
  http::Request request;
  request.target = "/events";
  auto stream = client->open_stream(request, core::SteadyClock::now() + std::chrono::seconds(10));
  ASSERT_TRUE(stream) << stream.error().to_string();
  EXPECT_EQ((*stream)->head().headers.get("Content-Type"), "text/event-stream");
  const std::string id = create();
  std::string text;
  while (text.find("sandbox.created") == std::string::npos) {
    auto piece = (*stream)->read(core::SteadyClock::now() + std::chrono::seconds(10));
    ASSERT_TRUE(piece) << piece.error().to_string();
    ASSERT_FALSE(piece->empty());
    text += *piece;
  }
  EXPECT_NE(text.find("id: 1\ndata: {"), std::string::npos) << text;
  EXPECT_NE(text.find(id), std::string::npos);
  const auto history = rest::read_history(get("/events/history?after=0").body).value();
  ASSERT_EQ(history.events.size(), 1u);
  EXPECT_TRUE(history.complete);
  EXPECT_EQ(get("/events/history?after=x").status, 400u);
}

TEST_F(ServerRoutes, ANewConfigurationIsTakenUpOrRefused) {
  server::Config changed = config();
  changed.limits.max_sandboxes = 1;
  changed.pool.base["small"] = changed.pool.base["default"];
  const auto differences = service().reload(changed);
  ASSERT_TRUE(differences) << differences.error().to_string();
  const auto named = [&](std::string_view key) {
    return std::any_of(differences->begin(), differences->end(), [&](const auto& change) { return change.key == key && change.live; });
  };
  EXPECT_TRUE(named("limits.max_sandboxes"));
  EXPECT_TRUE(named("pool.base.small"));
  EXPECT_NE(get("/profiles").body.find("\"small\""), std::string::npos);
  create(R"({"profile":"small"})");
  const auto full = call("POST", "/sandboxes", "{}");
  EXPECT_EQ(full.status, 503u);
  EXPECT_EQ(full.headers.get("Retry-After"), "2");
  EXPECT_NE(full.body.find("at capacity"), std::string::npos);
  server::Config bad = config();
  bad.pool.base["default"].image = "nonsense";
  const auto refused = service().reload(bad);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
  EXPECT_NE(get("/profiles").body.find("\"small\""), std::string::npos);
}

class ServerTenants : public LiveService {};

TEST_F(ServerTenants, SeeOnlyWhatIsTheirs) {
  const http::Headers acme{{"X-Sandbox-Identity", "acme"}, {"X-Sandbox-Max-Concurrent", "1"}, {"X-Sandbox-Max-TTL", "30"}};
  const http::Headers other{{"X-Sandbox-Identity", "other"}};
  const auto created = call("POST", "/sandboxes", R"({"ttl":3600})", acme);
  ASSERT_EQ(created.status, 201u) << created.body;
  const SandboxInfo info = rest::read_sandbox(created.body).value();
  EXPECT_EQ(info.ttl, std::chrono::seconds(30));
  const auto second = call("POST", "/sandboxes", "{}", acme);
  EXPECT_EQ(second.status, 429u);
  EXPECT_NE(second.body.find("identity sandbox quota exceeded"), std::string::npos);
  EXPECT_EQ(call("GET", "/sandboxes", "", other).body, "[]\n");
  for (const char* path : {"", "/stats", "/ports", "/ws"}) EXPECT_EQ(call("GET", "/sandboxes/" + info.id + path, "", other).status, 404u) << path;
  EXPECT_EQ(call("DELETE", "/sandboxes/" + info.id, "", other).status, 404u);
  EXPECT_EQ(call("GET", "/events/history", "", other).body.find(info.id), std::string::npos);
  EXPECT_EQ(call("GET", "/sandboxes/" + info.id, "", acme).status, 200u);
}

}  // namespace
}  // namespace sandbox::testing
