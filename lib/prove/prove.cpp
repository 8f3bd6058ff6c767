#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <set>
#include <sstream>
#include <thread>

#include <sandbox/prove.hpp>

#include "lab/ledger.hpp"
#include "protocol/build_id.hpp"
#include "prove/catalogue.hpp"
#include "prove/rooms.hpp"
#include "prove/run.hpp"
#include "runtime/proof.hpp"
#include "runtime/runtime_state.hpp"

namespace sandbox {
namespace prove {

namespace {

using Clock = std::chrono::steady_clock;

std::chrono::milliseconds since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
}

constexpr auto kSettle = std::chrono::seconds(5);  ///< what was held is given back in milliseconds, behind close()
constexpr const char* kLedgerId = "host.ledger";

bool wanted(const ProveOptions& options, std::string_view id) {
  return options.only().empty() || std::ranges::any_of(options.only(), [&](const std::string& prefix) { return id.starts_with(prefix); });
}

/// Of a ledger's difference what is ours: other runtimes of this machine come and go with their own control groups.
std::string ours(const std::string& difference, const std::set<int>& launchers) {
  std::istringstream lines(difference);
  std::string left;
  for (std::string line; std::getline(lines, line);) {
    if (const auto at = line.find("/sandbox/");
        line.find("cgroup ") == 2 && at != line.npos && !launchers.contains(std::atoi(line.c_str() + at + 9)))
      continue;
    if (line.find("link ") == 2 && line.find("link sbx") != 2) continue;
    left += (left.empty() ? "" : "; ") + line;
  }
  return left;
}

/// What this process and its children held before must be all they hold after.
void check_ledger(const lab::Ledger& before, const std::set<int>& launchers, const Result<void>& closed, CheckResult& result) {
  if (!closed) return fail(result, "close: " + closed.error().to_string());
  const auto start = Clock::now();
  std::string left;
  do left = ours(lab::difference(before, lab::Ledger::take()), launchers);
  while (!left.empty() && since(start) < kSettle &&
         (std::this_thread::sleep_for(std::chrono::milliseconds(2)), true));  // the pace of looking
  left.empty() ? pass(result, "nothing of it is left") : fail(result, left);
}

}  // namespace

Result<ProveReport> run(Stage& stage) {
  const ProveOptions& options = stage.options();
  ProveReport report;
  report.backend = options.backend();
  report.set = options.is_without_sandbox() ? "control" : !options.only().empty() ? "partial" : options.is_full() ? "full" : "quick";
  report.build = protocol::build_id();
  utsname kernel{};
  ::uname(&kernel);
  report.kernel = kernel.release;
  SANDBOX_TRY(report.policy, stage.runtime().state()->policy());
  report.policy_sha256 = runtime::policy_digest(report.policy);

  std::vector<const Check*> checks;
  for (const Check& check : catalogue())
    if (wanted(options, check.id) && (options.is_full() || !check.full_only)) checks.push_back(&check);
  Rooms rooms(stage, checks);
  for (const Check* check : checks) {
    CheckResult result;
    result.id = check->id;
    result.tried = check->tried;
    result.expected = check->expected;
    const auto start = Clock::now();
    if (check->run == nullptr)
      rooms.judge(*check, result);
    else if (options.is_without_sandbox())
      skip(result, "there is no sandbox in this run");
    else if (const std::string why = *check->limit != '\0' ? stage.unenforced(check->limit) : ""; !why.empty())
      skip(result, "this host does not enforce it: " + why);
    else
      check->run(stage, result);
    result.duration = since(start);
    if (options.on_check()) options.on_check()(result);
    report.checks.push_back(std::move(result));
  }
  return report;
}

}  // namespace prove

Result<ProveReport> prove_isolation(ProveOptions options) {
  const auto start = prove::Clock::now();
  const lab::Ledger before = lab::Ledger::take();
  SANDBOX_TRY(auto stage, prove::Stage::set_up(options));
  SANDBOX_TRY(ProveReport report, prove::run(*stage));
  std::set<int> launchers;
  for (const auto& [pid, name] : lab::descendants(::getpid())) launchers.insert(pid);
  const auto closed = stage->close();
  stage.reset();
  if (prove::wanted(options, prove::kLedgerId)) {
    CheckResult result;
    result.id = prove::kLedgerId;
    result.tried = "compare descriptors, mounts, control groups, processes, links and network namespaces before and after all of this";
    result.expected = "no difference";
    if (options.is_without_sandbox())
      prove::skip(result, "there is no sandbox in this run");
    else
      prove::check_ledger(before, launchers, closed, result);
    if (options.on_check()) options.on_check()(result);
    report.checks.push_back(std::move(result));
  }
  closed.ignore("part of the ledger's check");
  report.duration = prove::since(start);
  report.finished = std::chrono::system_clock::now();
  return report;
}

std::vector<std::string> check_ids(bool full) {
  std::vector<std::string> ids;
  for (const prove::Check& check : prove::catalogue())
    if (full || !check.full_only) ids.emplace_back(check.id);
  ids.emplace_back(prove::kLedgerId);
  return ids;
}

}  // namespace sandbox
