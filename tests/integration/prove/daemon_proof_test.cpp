// A daemon that asks for a proof: serves with one that fits, and does not start with anything else.
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <optional>

#include "one_run.hpp"
#include "runtime/proof.hpp"
#include "support/daemon_process.hpp"
#include "support/eventually.hpp"
#include "support/state_directory.hpp"

namespace sandbox::testing {
namespace {

class DaemonProof : public ::testing::Test {
 protected:
  std::string path() const { return directory_.path() + "/proof.json"; }
  void write(const ProveReport& report) {
    std::ofstream(path(), std::ios::trunc) << to_json(report);
    ::chmod(path().c_str(), 0644);
  }
  DaemonProcess::Options settings() const {
    DaemonProcess::Options options;
    options.section_server = "require_proof = \"" + path() + "\"\n";
    options.settings = "[pool]\nmin_base = 1\n[pool.base.default]\nimage = \"host\"\nmemory = \"64m\"\nstorage = \"16m\"\nnetwork = \"none\"\n";
    return options;
  }
  /// Why a daemon does not start.
  std::string refusal() const {
    try {
      DaemonProcess daemon(settings());
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "it serves";
  }
  void expect_refused(const std::string& words) {
    const std::string said = refusal();
    EXPECT_NE(said.find("sandboxd ended at once"), said.npos) << said;
    EXPECT_NE(said.find(words), said.npos) << said;
    EXPECT_NE(said.find("run `sbx prove --report " + path() + "`"), said.npos) << said;
  }
  StateDirectory directory_;
};

TEST_F(DaemonProof, ServesAndArmsItsPoolWithAReportThatFits) {
  write(quick_report());
  DaemonProcess daemon(settings());
  auto client = Client::connect(daemon.url()).value();
  EXPECT_TRUE(eventually([&] {
    const auto pools = client.pools().value();
    return std::ranges::all_of(pools, [](const PoolInfo& pool) { return pool.ready > 0; });
  })) << daemon.log();
  EXPECT_TRUE(client.create().value().close());
}

TEST_F(DaemonProof, DoesNotStartWithAnythingElse) {
  expect_refused("there is none");
  ProveReport report = quick_report();
  report.checks[0].status = CheckStatus::failed;
  write(report);
  expect_refused("check " + report.checks[0].id + " failed");
  report = quick_report();
  report.policy.front() += " but weaker";
  report.policy_sha256 = runtime::policy_digest(report.policy);
  write(report);
  expect_refused("it is not for this build, host and policy");
}

TEST_F(DaemonProof, WhatAnEarlierDaemonLeftIsAdoptedOnlyWithAProof) {
  write(quick_report());
  DaemonProcess daemon(settings());
  const std::string kept = [&] {
    auto client = Client::connect(daemon.url()).value();
    Sandbox box = client.create(CreateRequest().ttl(std::chrono::seconds(60))).value();
    EXPECT_TRUE(box.detach());
    return box.id();
  }();
  daemon.stop(SIGKILL);
  ProveReport report = quick_report();
  report.policy.pop_back();
  report.policy_sha256 = runtime::policy_digest(report.policy);
  write(report);
  daemon.start();
  EXPECT_THROW(daemon.wait_ready(), std::runtime_error);
  EXPECT_EQ(daemon.log().find("took over"), std::string::npos);
  write(quick_report());
  daemon.start();
  daemon.wait_ready();
  auto client = Client::connect(daemon.url()).value();
  EXPECT_TRUE(client.open(kept)) << daemon.log();
}

}  // namespace
}  // namespace sandbox::testing
