#include <sandbox/prove.hpp>

#include "core/text.hpp"

namespace sandbox {

std::string to_text(const ProveReport& report) {
  std::string text;
  std::size_t bites = 0, forbids = 0, not_run = 0;
  for (const CheckResult& check : report.checks) {
    const char* mark = check.status == CheckStatus::passed ? "ok  " : check.status == CheckStatus::failed ? "FAIL" : "skip";
    text += std::string(mark) + "  " + check.id + std::string(check.id.size() < 26 ? 26 - check.id.size() : 1, ' ');
    text += core::escape_control(check.status == CheckStatus::passed ? check.tried + ": " + check.expected : check.seen) + '\n';
    for (const CheckAttempt& attempt : check.attempts) {
      ++(attempt.control == "bites" ? bites : attempt.control == "host_forbids" ? forbids : not_run);
      if (check.status == CheckStatus::failed && attempt.verdict != "blocked")
        text += "        " + attempt.id + ": " + core::escape_control(attempt.verdict + " " + attempt.detail) + '\n';
    }
  }
  text += "\n" + std::to_string(report.count(CheckStatus::passed)) + " passed, " + std::to_string(report.count(CheckStatus::failed)) +
          " failed, " + std::to_string(report.count(CheckStatus::skipped)) + " skipped in " + std::to_string(report.duration.count()) +
          " ms (" + report.set + " set)\n";
  text += "controls outside: " + std::to_string(bites) + " attempts work there, " + std::to_string(forbids) +
          " this host forbids by itself, " + std::to_string(not_run) + " are not run by design\n";
  text += "build " + report.build + ", kernel " + report.kernel + ", policy " + report.policy_sha256 + '\n';
  return text;
}

}  // namespace sandbox
