#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include "support/daemon_process.hpp"
#include "support/live_runtime.hpp"

namespace sandbox::testing {

using namespace std::chrono_literals;
using namespace sandbox::literals;

/// Where sandboxes come from in one run of the suite: a backend of this process, or a daemon ("daemon"; "sealed": the same
/// with every session encrypted between this process and the agent).
inline std::vector<std::string> environments() {
  std::vector<std::string> names;
  StateDirectory state;
  if (auto runtime = Runtime::open(RuntimeOptions().state_directory(state.path()))) {
    if (auto report = runtime->host()) names.push_back(report->backend);
    else report.error().ignore("not usable here");
    runtime->close().ignore("only a probe");
  } else {
    runtime.error().ignore("not usable here; the instantiation below is then empty and the suite says so");
  }
  const char* bin = std::getenv("SANDBOX_BIN_DIR");
  if (!names.empty() && bin && ::access((std::string(bin) + "/sandboxd").c_str(), X_OK) == 0) {
    names.push_back("daemon");
    names.push_back("sealed");
  }
  return names;
}

/// What Runtime and Client have in common, as far as the suite needs it.
class Where {
 public:
  virtual ~Where() = default;
  virtual Result<Sandbox> create(const SandboxSpec& spec) = 0;
  virtual Result<TemplateInfo> find_template(const std::string& id) = 0;
  virtual Result<void> remove_template(const std::string& id) = 0;
};

template <class From>
class WhereFrom final : public Where {
 public:
  explicit WhereFrom(From& from) : from_(from) {}
  Result<Sandbox> create(const SandboxSpec& spec) override { return from_.create(spec); }
  Result<TemplateInfo> find_template(const std::string& id) override {
    SANDBOX_TRY(auto found, from_.find_template(id));
    return static_cast<TemplateInfo&&>(std::move(found));
  }
  Result<void> remove_template(const std::string& id) override { return from_.remove_template(id); }

 private:
  From& from_;
};

class Conformance : public LiveTest, public ::testing::WithParamInterface<std::string> {
 public:
  static void TearDownTestSuite() {
    client_.reset();
    daemon_.reset();
    LiveTest::TearDownTestSuite();
  }
  void SetUp() override {
    LiveTest::SetUp();
    if (!remote()) {
      where_ = std::make_unique<WhereFrom<Runtime>>(LiveTest::runtime());
      return;
    }
    if (!daemon_) {
      daemon_ = std::make_unique<DaemonProcess>();
      client_ = std::make_unique<Client>(Client::connect(daemon_->url()).value());
    }
    where_ = std::make_unique<WhereFrom<Client>>(*client_);
  }
  void TearDown() override {
    if (HasFailure() && daemon_) ADD_FAILURE() << "the daemon said: " << daemon_->log();
  }

  static bool remote() { return GetParam() == "daemon" || GetParam() == "sealed"; }
  SandboxSpec spec() const { return remote() ? SandboxSpec().sealed(GetParam() == "sealed") : SandboxSpec().backend(GetParam()); }
  Where& runtime() const { return *where_; }
  Sandbox make(const SandboxSpec& wanted) const { return where_->create(wanted).value(); }
  Sandbox box() const { return make(spec()); }

 private:
  inline static std::unique_ptr<DaemonProcess> daemon_;
  inline static std::unique_ptr<Client> client_;
  std::unique_ptr<Where> where_;
};

#define SANDBOX_CONFORMANCE(suite)                                                                        \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(suite);                                                   \
  INSTANTIATE_TEST_SUITE_P(Backend, suite, ::testing::ValuesIn(environments()),                           \
                           [](const auto& param_info) { return param_info.param; });                      \
  TEST(suite##Coverage, AtLeastOneBackendRunsHere) { EXPECT_FALSE(environments().empty()); }

}  // namespace sandbox::testing
