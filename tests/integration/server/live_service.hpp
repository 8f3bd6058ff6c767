#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "http/client.hpp"
#include "rest/rest.hpp"
#include "server/service.hpp"
#include "support/eventually.hpp"
#include "support/live_runtime.hpp"

/// A service in this process, on the real kernel, on a socket and a data directory of its own.
namespace sandbox::testing {

class LiveService : public ::testing::Test {
 protected:
  virtual server::Config config() {
    server::Config config;
    config.server.socket = directory_.path() + "/d.sock";
    config.server.data_dir = directory_.path() + "/data";
    config.limits.create_rate_limit = 0;
    config.limits.max_sandboxes = 20;
    config.limits.max_memory = 0;
    config.limits.max_cpu = 0;
    config.pool.min_base = 1;
    config.pool.base["default"].network = "none";
    config.pool.base["default"].memory = "64m";
    config.pool.base["default"].memory_bytes = 64u << 20;
    config.pool.base["default"].storage = "32m";
    config.pool.base["default"].storage_bytes = 32u << 20;
    return config;
  }

  void SetUp() override {
    server::ServiceOptions options;
    options.config = config();
    options.log = std::make_shared<server::Log>(LogLevel::warning, server::Log::Format::text);
    auto opened = server::Service::open(std::move(options));
    if (!opened && opened.error().code() == ErrorCode::unsupported) GTEST_SKIP() << opened.error().to_string();
    ASSERT_TRUE(opened) << opened.error().to_string();
    service_ = *std::move(opened);
    auto client = http::Client::make(http::Endpoint::parse(socket()).value());
    ASSERT_TRUE(client) << client.error().to_string();
    client_ = *std::move(client);
  }
  void TearDown() override {
    client_.reset();
    if (!service_) return;
    const auto stopped = service_->stop(server::Leave::destroy, std::chrono::seconds(2));
    EXPECT_TRUE(stopped) << stopped.error().to_string();
  }

  std::string socket() const { return directory_.path() + "/d.sock"; }
  server::Service& service() { return *service_; }

  http::Response call(const std::string& method, const std::string& target, std::string body = {}, http::Headers headers = {}) {
    http::Request request;
    request.method = method;
    request.target = target;
    request.body = std::move(body);
    request.headers = std::move(headers);
    auto response = client_->request(request, core::SteadyClock::now() + std::chrono::seconds(60));
    if (!response) {
      ADD_FAILURE() << method << " " << target << ": " << response.error().to_string();
      return http::Response{0, {}, {}};
    }
    return *std::move(response);
  }
  http::Response get(const std::string& target) { return call("GET", target); }
  /// Creates one and returns its id.
  std::string create(const std::string& body = "{}") {
    const auto response = call("POST", "/sandboxes", body);
    EXPECT_EQ(response.status, 201u) << response.body;
    auto info = rest::read_sandbox(response.body);
    return info ? info->id : (info.ignore("the status says it"), std::string());
  }
  SandboxState state_of(const std::string& id) {
    const auto response = get("/sandboxes/" + id);
    if (response.status != 200) return SandboxState::stopped;
    return rest::read_sandbox(response.body).value().state;
  }

 private:
  StateDirectory directory_;
  std::unique_ptr<server::Service> service_;
  std::unique_ptr<http::Client> client_;
};

}  // namespace sandbox::testing
