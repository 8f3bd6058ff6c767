#include <algorithm>
#include <chrono>

#include <sandbox/prove.hpp>

#include "rest/json_reader.hpp"
#include "rest/rest.hpp"

namespace sandbox {

std::string_view name(CheckStatus status) noexcept {
  switch (status) {
    case CheckStatus::passed: return "passed";
    case CheckStatus::failed: return "failed";
    case CheckStatus::skipped: return "skipped";
  }
  return "unknown";
}

std::size_t ProveReport::count(CheckStatus status) const noexcept {
  return static_cast<std::size_t>(std::ranges::count(checks, status, &CheckResult::status));
}

namespace {

using rest::Value;

Result<CheckAttempt> attempt_of(const Value& value) {
  CheckAttempt attempt;
  SANDBOX_CHECK(value.each_member([&](const Value& member) -> Result<void> {
    if (member.is("id")) return member.into(attempt.id);
    if (member.is("verdict")) return member.into(attempt.verdict);
    if (member.is("detail")) return member.into(attempt.detail);
    if (member.is("control")) return member.into(attempt.control);
    if (member.is("control_detail")) return member.into(attempt.control_detail);
    return {};
  }));
  return attempt;
}

Result<CheckResult> check_of(const Value& value) {
  CheckResult check;
  std::string status;
  std::int64_t duration = 0;
  SANDBOX_CHECK(value.each_member([&](const Value& member) -> Result<void> {
    if (member.is("id")) return member.into(check.id);
    if (member.is("status")) return member.into(status);
    if (member.is("tried")) return member.into(check.tried);
    if (member.is("expected")) return member.into(check.expected);
    if (member.is("seen")) return member.into(check.seen);
    if (member.is("duration_ms")) return member.into(duration);
    if (member.is("attempts")) {
      SANDBOX_TRY(check.attempts, member.list<CheckAttempt>(attempt_of));
    }
    return {};
  }));
  check.duration = std::chrono::milliseconds(duration);
  for (const auto known : {CheckStatus::passed, CheckStatus::failed, CheckStatus::skipped}) {
    if (status != name(known)) continue;
    check.status = known;
    if (check.id.empty()) break;
    return check;
  }
  return Error(ErrorCode::invalid_argument, "a check without id or status");
}

}  // namespace

std::string to_json(const ProveReport& report) {
  rest::JsonWriter json;
  json.begin_object().member("format", report.format).member("passed", report.passed()).member("backend", report.backend);
  json.member("set", report.set).member("build", report.build).member("kernel", report.kernel);
  json.member("finished", rest::write_time_seconds(report.finished)).member("duration_ms", std::int64_t{report.duration.count()});
  json.member("policy_sha256", report.policy_sha256).key("policy").begin_array();
  for (const std::string& line : report.policy) json.value(line);
  json.end_array().key("counts").begin_object();
  for (const auto status : {CheckStatus::passed, CheckStatus::failed, CheckStatus::skipped})
    json.member(name(status), std::uint64_t{report.count(status)});
  json.end_object().key("checks").begin_array();
  for (const CheckResult& check : report.checks) {
    json.begin_object().member("id", check.id).member("status", name(check.status)).member("tried", check.tried);
    json.member("expected", check.expected).member("seen", check.seen).member("duration_ms", std::int64_t{check.duration.count()});
    json.key("attempts").begin_array();
    for (const CheckAttempt& attempt : check.attempts) {
      json.begin_object().member("id", attempt.id).member("verdict", attempt.verdict).member("detail", attempt.detail);
      json.member("control", attempt.control).member("control_detail", attempt.control_detail).end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().end_object();
  return std::move(json).take();
}

Result<ProveReport> read_prove_report(std::string_view text) {
  return rest::read_document<ProveReport>(text, [](const Value& value) -> Result<ProveReport> {
    ProveReport report;
    report.format = 0;
    std::string finished;
    std::int64_t duration = 0;
    SANDBOX_CHECK(value.each_member([&](const Value& member) -> Result<void> {
      if (member.is("format")) return member.into(report.format);
      if (member.is("backend")) return member.into(report.backend);
      if (member.is("set")) return member.into(report.set);
      if (member.is("build")) return member.into(report.build);
      if (member.is("kernel")) return member.into(report.kernel);
      if (member.is("finished")) return member.into(finished);
      if (member.is("duration_ms")) return member.into(duration);
      if (member.is("policy")) return member.into(report.policy);
      if (member.is("policy_sha256")) return member.into(report.policy_sha256);
      if (member.is("checks")) {
        SANDBOX_TRY(report.checks, member.list<CheckResult>(check_of));
      }
      return {};
    }));
    if (report.format != ProveReport::kFormat) return Error(ErrorCode::invalid_argument, "not a report of sbx prove, or of another format");
    SANDBOX_TRY(report.finished, rest::read_time(finished));
    report.duration = std::chrono::milliseconds(duration);
    return report;
  });
}

}  // namespace sandbox
