#include "server/metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace sandbox;
using namespace sandbox::server;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

namespace {

constexpr std::string_view kList = "/sandboxes";
constexpr std::string_view kOther = "other";

TEST(Metrics, BucketsAreCumulativeOnce) {
  Metrics metrics("1.2.3");
  for (const auto took : {500us, 3000us, 20000us}) metrics.request("GET", kList, 200, took);
  metrics.request("GET", kList, 404, 7s);
  const std::string text = metrics.expose({});
  const auto bucket = [&](const char* le, int count) {
    EXPECT_THAT(text, HasSubstr(std::string("sandboxd_request_duration_seconds_bucket{method=\"GET\",path=\"/sandboxes\",le=\"") + le +
                                "\"} " + std::to_string(count) + "\n"));
  };
  bucket("0.001", 1);
  bucket("0.005", 2);
  bucket("0.01", 2);
  bucket("0.05", 3);
  bucket("5", 3);
  bucket("+Inf", 4);
  EXPECT_THAT(text, HasSubstr("sandboxd_request_duration_seconds_count{method=\"GET\",path=\"/sandboxes\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("sandboxd_requests_total{method=\"GET\",path=\"/sandboxes\",status=\"200\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("sandboxd_requests_total{method=\"GET\",path=\"/sandboxes\",status=\"404\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sandboxd_build_info{version=\"1.2.3\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE sandboxd_request_duration_seconds histogram\n"));
}

TEST(Metrics, LabelsStayFewWhateverClientsSend) {
  Metrics metrics("1");
  for (int i = 0; i < 1000; ++i) metrics.request("M" + std::to_string(i), kOther, static_cast<unsigned>(600 + i), 1ms);
  const std::string text = metrics.expose({});
  EXPECT_THAT(text, HasSubstr("sandboxd_requests_total{method=\"other\",path=\"other\",status=\"0\"} 1000\n"));
  EXPECT_THAT(text, Not(HasSubstr("M7")));
}

TEST(Metrics, CountsSandboxesAndPools) {
  Metrics metrics("1");
  metrics.created(Metrics::Method::warm);
  metrics.created(Metrics::Method::warm);
  metrics.created(Metrics::Method::cold);
  metrics.destroyed();
  PoolInfo pool;
  pool.profile = "default";
  pool.ready = 4;
  pool.hits = 2;
  pool.misses = 1;
  pool.refill_time = 2ms;
  Metrics::Now now;
  now.sandboxes = 2;
  now.sessions = 3;
  now.http_connections = 5;
  now.pools = {pool};
  std::string text = metrics.expose(now);
  for (const char* line : {"sandboxd_sandboxes_active 2\n", "sandboxd_sessions_active 3\n", "sandboxd_http_connections 5\n",
                           "sandboxd_pool_ready{profile=\"default\"} 4\n", "sandboxd_sandbox_creates_total{method=\"warm\"} 2\n",
                           "sandboxd_sandbox_creates_total{method=\"cold\"} 1\n", "sandboxd_sandbox_destroys_total 1\n",
                           "sandboxd_pool_hits_total{profile=\"default\"} 2\n", "sandboxd_pool_misses_total{profile=\"default\"} 1\n",
                           "sandboxd_pool_refill_seconds{profile=\"default\"} 0.002\n", "process_open_fds ", "process_cpu_seconds_total "}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  now.pools[0].hits = 10;
  text = metrics.expose(now);
  EXPECT_THAT(text, HasSubstr("sandboxd_pool_hits_total{profile=\"default\"} 10\n"));
  now.pools.clear();
  EXPECT_THAT(metrics.expose(now), Not(HasSubstr("sandboxd_pool_ready{")));
}

}  // namespace
