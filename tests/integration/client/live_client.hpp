#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "support/cut_proxy.hpp"
#include "support/daemon_process.hpp"
#include "support/live_runtime.hpp"

/// A daemon for the whole test program, a client of its own for every test.
namespace sandbox::testing {

using namespace std::chrono_literals;
using namespace sandbox::literals;

class LiveClient : public ::testing::Test {
 public:
  static void SetUpTestSuite() {
    DaemonProcess::Options options;
    options.settings = "[pool]\ntotal_warm = 2\nmax_warm = 4\n";
    daemon_ = std::make_unique<DaemonProcess>(options);
  }
  static void TearDownTestSuite() { daemon_.reset(); }
  void SetUp() override { client_ = std::make_unique<Client>(Client::connect(daemon_->url()).value()); }
  void TearDown() override {
    if (HasFailure()) ADD_FAILURE() << "the daemon said: " << daemon_->log();
  }

  static DaemonProcess& daemon() { return *daemon_; }
  Client& client() { return *client_; }
  /// A client whose connections can be watched and cut.
  CutProxy& proxy() {
    if (!proxy_) proxy_ = std::make_unique<CutProxy>(daemon_->directory() + "/proxy.sock", daemon_->socket());
    return *proxy_;
  }
  Client through_proxy(ClientOptions options = ClientOptions()) { return Client::connect(proxy().url(), std::move(options)).value(); }

 private:
  inline static std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<CutProxy> proxy_;
  std::unique_ptr<Client> client_;
};

}  // namespace sandbox::testing
