#include <gtest/gtest.h>

#include "rest/rest.hpp"
#include "support/failure.hpp"

namespace sandbox::rest {
namespace {

using namespace std::chrono_literals;

SandboxInfo info() {
  SandboxInfo info;
  info.id = "sbx-247bf1d3";
  info.image = "host";
  info.created = WallTime(1767225600s + 5ns);
  info.ttl = 3600s;
  info.profile = "default";
  info.labels = {{"a", "b"}};
  return info;
}

TEST(RestValues, SandboxLooksAsTheProtocolSays) {
  SandboxInfo plain = info();
  EXPECT_EQ(write(plain), R"({"id":"sbx-247bf1d3","image":"host","state":"running","created":"2026-01-01T00:00:00.000000005Z",)"
                          R"("ttl":3600,"profile":"default","labels":{"a":"b"}})");
  plain.profile.clear();
  plain.labels.clear();
  plain.created = WallTime(1767225600s);
  EXPECT_EQ(write(plain), R"({"id":"sbx-247bf1d3","image":"host","state":"running","created":"2026-01-01T00:00:00Z","ttl":3600})");
}

TEST(RestValues, SandboxComesBack) {
  SandboxInfo full = info();
  full.state = SandboxState::disconnected;
  full.template_id = "tpl-1";
  full.spec = SandboxSpec().hostname("x");
  full.unenforced = {"memory: not here"};
  EXPECT_EQ(read_sandbox(write(full)).value(), full);
  EXPECT_EQ(read_sandboxes(write(std::vector{full, info()})).value(), (std::vector{full, info()}));
  EXPECT_EQ(write(std::vector<SandboxInfo>()), "[]");
  EXPECT_EQ(sandbox::testing::failure(read_sandbox("{}")), ErrorCode::invalid_argument) << "no id";
  EXPECT_EQ(sandbox::testing::failure(read_sandbox(R"({"id":"a","state":"dancing"})")), ErrorCode::invalid_argument);
  EXPECT_EQ(sandbox::testing::failure(read_sandboxes("{}")), ErrorCode::invalid_argument);
}

TEST(RestValues, StatsHaveEveryKeyOfTheProtocol) {
  SandboxStats stats;
  stats.memory = ByteCount(1 << 20);
  stats.memory_limit = ByteCount(3 << 20);
  stats.pids = 4;
  stats.uptime = 1234567ms;
  stats.cpu_time = 42ns;
  const std::string json = write(stats, 12.345);
  for (const char* part : {R"("cpu_percent":12.35)", R"("memory_usage_bytes":1048576)", R"("memory_limit_bytes":3145728)",
                           R"("memory_percent":33.33)", R"("network_rx_bytes":0)", R"("network_tx_bytes":0)", R"("pids":4)",
                           R"("uptime_seconds":1234.57)", R"("cpu_time_ns":42)"})
    EXPECT_NE(json.find(part), std::string::npos) << part << " in " << json;
  const auto back = read_stats(json).value();
  EXPECT_EQ(back.memory, stats.memory);
  EXPECT_EQ(back.pids, 4u);
  EXPECT_EQ(back.cpu_time, 42ns);
  EXPECT_EQ(std::chrono::round<std::chrono::milliseconds>(back.uptime), 1234570ms);
  EXPECT_EQ(sandbox::testing::failure(read_stats(R"({"uptime_seconds":1e300})")), ErrorCode::invalid_argument);
  EXPECT_EQ(sandbox::testing::failure(read_stats(R"({"uptime_seconds":-1})")), ErrorCode::invalid_argument);
}

TEST(RestValues, TemplateThatWasNeverUsedSaysYearOne) {
  ServiceTemplate saved;
  saved.id = "tpl-59e91508";
  saved.label = "l";
  saved.backend = "native";
  saved.size = ByteCount(12);
  saved.image = Image::from_template("tpl-0");
  saved.limits = Limits().pids(3);
  saved.writable_root = true;
  saved.digest = "sha256:00";
  EXPECT_NE(write(saved).find(R"("last_used":"0001-01-01T00:00:00Z")"), std::string::npos);
  EXPECT_EQ(write(saved).find("identity"), std::string::npos);
  auto back = read_template(write(saved)).value();
  EXPECT_FALSE(back.last_used);
  EXPECT_EQ(back.image, saved.image);
  EXPECT_EQ(back.limits, saved.limits);
  EXPECT_TRUE(back.writable_root);
  saved.last_used = WallTime(1767225600s);
  saved.identity = "acme";
  back = read_templates(write(std::vector{saved})).value().at(0);
  EXPECT_EQ(back.last_used, saved.last_used);
  EXPECT_EQ(back.identity, "acme");
  EXPECT_EQ(read_template_body(R"({"sandbox_id":"sbx-1"})").value().label, std::nullopt);
}

TEST(RestValues, PortsAndExposeBodies) {
  const ExposedPort port{8080, 10000, "127.0.0.1"};
  EXPECT_EQ(write(port), R"({"port":8080,"host_port":10000,"url":"http://localhost:10000","host_address":"127.0.0.1"})");
  EXPECT_EQ(read_ports(write(std::vector{port})).value().at(0).host_address, "127.0.0.1");
  EXPECT_EQ(sandbox::testing::failure(read_port(R"({"port":65536})")), ErrorCode::invalid_argument);
  EXPECT_EQ(read_expose(R"({"timeout":2.5,"host_port":7})").value().timeout, 2.5);
  EXPECT_EQ(read_expose(write(ExposeBody{std::nullopt, 7})).value().host_port, 7);
  EXPECT_EQ(sandbox::testing::failure(read_expose(R"({"host_port":-7})")), ErrorCode::invalid_argument);
}

TEST(RestValues, PoolsAndHealth) {
  PoolInfo pool;
  pool.profile = "default";
  pool.ready = 3;
  pool.hits = 9;
  pool.refill_time = 1500us;
  Health health;
  health.status = "ok";
  health.pools = {pool};
  health.sandboxes = 2;
  health.protocols = {"v1", "v2"};
  const std::string json = write(health);
  EXPECT_NE(json.find(R"("ready":3)"), std::string::npos) << "scripts look for exactly this";
  EXPECT_NE(json.find(R"("refill_ms":1.5)"), std::string::npos);
  const auto back = read_health(json).value();
  EXPECT_EQ(back.pools.at(0).refill_time, 1500us);
  EXPECT_EQ(back.pools.at(0).hits, 9u);
  EXPECT_EQ(back.protocols, health.protocols);
  EXPECT_TRUE(read_health(R"({"sandboxes":0,"status":"ok"})")) << "the pool is absent before there is one";
  EXPECT_TRUE(read_pools("null")->empty()) << "how the old daemon says none";
  EXPECT_EQ(read_count(R"({"count":-3})").value(), -3);
}

TEST(RestValues, EventsCarryAnyData) {
  ServiceEvent event;
  event.id = 7;
  event.type = "sandbox.created";
  event.sandbox_id = "sbx-1";
  event.time = WallTime(1767225600s);
  event.data = R"({"labels":null,"method":"warm"})";
  EXPECT_EQ(read_event(write(event)).value(), event);
  EventHistory history;
  history.events = {event};
  history.complete = false;
  history.last = 9;
  const auto back = read_history(write(history)).value();
  EXPECT_EQ(back.events, history.events);
  EXPECT_FALSE(back.complete);
  EXPECT_EQ(back.last, 9u);
}

TEST(RestValues, ReadersForgetLargeTextsAndKeepWorking) {
  std::vector<SandboxInfo> many(5000, info());
  EXPECT_EQ(read_sandboxes(write(many))->size(), many.size());
  EXPECT_EQ(read_sandbox(write(info())).value(), info());
}

}  // namespace
}  // namespace sandbox::rest
