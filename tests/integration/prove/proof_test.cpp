// A runtime that asks for a proof: opens with one that fits, and with nothing else.
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include "one_run.hpp"
#include "runtime/proof.hpp"
#include "support/live_runtime.hpp"

namespace sandbox::testing {
namespace {

class Proof : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    const std::string path = state_.path() + "/proof.json";
    std::ofstream(path, std::ios::trunc) << text;
    ::chmod(path.c_str(), 0644);
    return path;
  }
  std::string write(const ProveReport& report) { return write(to_json(report)); }
  Result<Runtime> open(const std::string& path) {
    RuntimeOptions options;
    SandboxSpec spec;
    if (::geteuid() != 0) spec.allow(allow::unenforced_limits{});
    options.state_directory(state_.path() + "/state").launchers(1).warm(1, spec).require_proof(path);
    return Runtime::open(std::move(options));
  }
  /// The words with which it is refused.
  void expect_refused(const std::string& path, const std::string& words, ErrorCode code = ErrorCode::failed_precondition) {
    auto runtime = open(path);
    ASSERT_FALSE(runtime);
    EXPECT_EQ(name(runtime.error().code()), name(code));
    EXPECT_NE(runtime.error().to_string().find(words), std::string::npos) << runtime.error().to_string();
  }
  StateDirectory state_;
};

TEST_F(Proof, OpensAndArmsThePoolWithAReportThatFits) {
  auto runtime = open(write(quick_report()));
  ASSERT_TRUE(runtime) << runtime.error().to_string();
  EXPECT_OK(runtime->wait_warm());
  EXPECT_OK(runtime->close());
}

TEST_F(Proof, NoReportNoRuntime) { expect_refused(state_.path() + "/none", "there is none"); }

TEST_F(Proof, AFailedCheckIsEnough) {
  ProveReport report = quick_report();
  report.checks[3].status = CheckStatus::failed;
  expect_refused(write(report), report.checks[3].id);
}

TEST_F(Proof, WhatThePassedFlagSaysDoesNotCount) {
  std::string text = to_json([] {
    ProveReport report = quick_report();
    report.checks[0].status = CheckStatus::failed;
    return report;
  }());
  text.replace(text.find("\"passed\":false"), 14, "\"passed\":true");
  expect_refused(write(text), "identity.capabilities");
}

TEST_F(Proof, NothingButSkipsIsNoProof) {
  ProveReport report = quick_report();
  for (CheckResult& check : report.checks) check.status = CheckStatus::skipped;
  expect_refused(write(report), "nothing was checked");
  report.checks.clear();
  expect_refused(write(report), "nothing was checked");
}

TEST_F(Proof, SomeChecksAreNotAll) {
  ProveReport report = quick_report();
  report.set = "partial";
  expect_refused(write(report), "only some checks");
}

TEST_F(Proof, AnotherPolicyIsNamed) {
  for (const char* begin : {"build ", "kernel ", "host ", "filter ", "program sandbox-agent ", "limits ", "mount /root", "uid "}) {
    ProveReport report = quick_report();
    std::string there;
    for (std::string& line : report.policy)
      if (line.starts_with(begin)) there = std::exchange(line, "something else");
    ASSERT_NE(there, "") << begin;
    expect_refused(write(report), "changed afterwards");
    // Whoever fixes the digest too has a proof of something else.
    report.policy_sha256 = runtime::policy_digest(report.policy);
    expect_refused(write(report), "here it is \"" + there + "\"");
  }
}

TEST_F(Proof, AReportThatIsCutOffIsCorrupt) {
  const std::string whole = to_json(quick_report());
  expect_refused(write(whole.substr(0, whole.size() / 2)), "cannot be read", ErrorCode::corrupt);
  expect_refused(write("{}"), "cannot be read", ErrorCode::corrupt);
  expect_refused(write(""), "cannot be read", ErrorCode::corrupt);
}

TEST_F(Proof, WhoeverCanWriteTheReportIsTrustedSoFewMay) {
  const std::string path = write(quick_report());
  ::chmod(path.c_str(), 0666);
  expect_refused(path, "could have written", ErrorCode::permission_denied);
  if (::geteuid() != 0) return;
  ::chmod(path.c_str(), 0644);
  ASSERT_EQ(::chown(path.c_str(), 12345, 12345), 0);
  expect_refused(path, "could have written", ErrorCode::permission_denied);
}

TEST_F(Proof, ADirectoryOrAFifoIsRefusedAtOnce) {
  expect_refused(state_.path(), "not a regular file");
  const std::string fifo = state_.path() + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  expect_refused(fifo, "not a regular file");
}

TEST_F(Proof, TheReportReadsBackAsItWas) {
  const ProveReport& report = quick_report();
  const ProveReport back = read_prove_report(to_json(report)).value();
  EXPECT_EQ(to_json(back), to_json(report));
  ASSERT_EQ(back.checks.size(), report.checks.size());
  for (std::size_t i = 0; i < back.checks.size(); ++i) {
    EXPECT_EQ(back.checks[i].status, report.checks[i].status);
    EXPECT_EQ(back.checks[i].attempts, report.checks[i].attempts);
  }
}

}  // namespace
}  // namespace sandbox::testing
