// Sandboxes with one lock off on purpose: the checks of that lock fail, the others do not.
#include <unistd.h>

#include "backends/native/native.hpp"
#include "lab/netlab.hpp"
#include "one_run.hpp"
#include "prove/run.hpp"
#include "prove/stage.hpp"
#include "runtime/runtime_state.hpp"
#include "support/live_runtime.hpp"

namespace sandbox::testing {
namespace {

TEST(ProveWeakened, WithoutANetworkNamespaceTheNetworkChecksFail) {
  if (::geteuid() != 0) GTEST_SKIP() << "the weakening is one of the native backend as root";
  // In a network that is nobody's: the weakened sandbox stands right in it.
  lab::NetLab lab;
  lab::NetLab::Inside inside(lab.host());
  StateDirectory state;
  native::NativeOptions weak;
  weak.launchers = 1;
  weak.benchmark_without_network_namespace = true;
  std::vector<std::unique_ptr<backend::Backend>> backends;
  backends.push_back(native::make_backend(std::move(weak)));
  Runtime runtime(RuntimeState::open_with(RuntimeOptions().state_directory(state.path()), std::move(backends)).value());
  auto stage = prove::Stage::around(ProveOptions().only({"net.none", "net.sockets", "ipc.", "identity."}), std::move(runtime)).value();
  const ProveReport report = prove::run(*stage).value();
  EXPECT_FALSE(report.passed());
  EXPECT_EQ(find(report, "net.none").status, CheckStatus::failed) << find(report, "net.none").seen;
  // Abstract sockets belong to network namespaces, but Landlock scopes them too (from its version 6 on).
  for (const char* id : {"identity.capabilities", "identity.user_namespaces", "ipc.sysv", "ipc.shared_directories", "net.sockets"})
    EXPECT_EQ(find(report, id).status, CheckStatus::passed) << id << ": " << find(report, id).seen;
  // Its policy is another one: no proof of the usual sandbox is good for it.
  EXPECT_NE(report.policy_sha256, quick_report().policy_sha256);
  EXPECT_OK(stage->close());
}

}  // namespace
}  // namespace sandbox::testing
