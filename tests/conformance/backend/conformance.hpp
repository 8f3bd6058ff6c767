#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "support/live_runtime.hpp"

namespace sandbox::testing {

using namespace std::chrono_literals;
using namespace sandbox::literals;

/// Backends that this machine can run, by probing them: what the suite is instantiated over.
inline std::vector<std::string> usable_backends() {
  std::vector<std::string> names;
  StateDirectory state;
  if (auto runtime = Runtime::open(RuntimeOptions().state_directory(state.path()))) {
    if (auto report = runtime->host()) names.push_back(report->backend);
    else report.error().ignore("not usable here");
    runtime->close().ignore("only a probe");
  } else {
    runtime.error().ignore("not usable here; the instantiation below is then empty and the suite says so");
  }
  return names;
}

class Conformance : public LiveTest, public ::testing::WithParamInterface<std::string> {
 public:
  SandboxSpec spec() const { return SandboxSpec().backend(GetParam()); }
  Sandbox box() const { return make(spec()); }
};

#define SANDBOX_CONFORMANCE(suite)                                                                        \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(suite);                                                   \
  INSTANTIATE_TEST_SUITE_P(Backend, suite, ::testing::ValuesIn(usable_backends()),                        \
                           [](const auto& param_info) { return param_info.param; });                      \
  TEST(suite##Coverage, AtLeastOneBackendRunsHere) { EXPECT_FALSE(usable_backends().empty()); }

}  // namespace sandbox::testing
