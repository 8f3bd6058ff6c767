#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include <sys/utsname.h>
#include <unistd.h>

#include "text.hpp"

namespace bench {

void Samples::add(Clock::duration time, double unit_ns) {
  add(static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count()) / unit_ns);
}

double Samples::percentile(double share) const {
  if (values_.empty()) return std::numeric_limits<double>::quiet_NaN();
  auto sorted = values_;
  std::sort(sorted.begin(), sorted.end());
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

Result summarise(std::string scenario, std::string unit, const Samples& ours, const Samples& floor, bool higher_is_better) {
  Result result;
  result.scenario = std::move(scenario);
  result.unit = std::move(unit);
  result.p50 = ours.p50();
  result.p99 = higher_is_better ? ours.percentile(0.01) : ours.p99();
  result.floor = floor.p50();
  result.ratio = result.p50 / result.floor;
  result.samples = ours.size();
  return result;
}

std::string to_json(const std::vector<Result>& results) {
  sbx::Json list = sbx::Json::array();
  for (const auto& result : results) {
    sbx::Json json = sbx::Json::object();
    json.add("scenario", result.scenario).add("unit", result.unit);
    if (!result.skipped.empty()) {
      json.add("skipped", result.skipped);
      list.push(json);
      continue;
    }
    if (!result.error.empty()) {
      json.add("error", result.error).add("bar", result.bar).add("pass", false);
      list.push(json);
      continue;
    }
    json.add("p50", result.p50).add("p99", result.p99).add("floor", result.floor).add("ratio", result.ratio).add("bar", result.bar);
    if (result.overhead) json.add("overhead", *result.overhead);
    if (result.pass) json.add("pass", *result.pass);
    else json.add_null("pass");
    sbx::Json peers = sbx::Json::object();
    for (const auto& [name, value] : result.peers) peers.add(name, value);
    json.add("peers", peers).add("samples", static_cast<std::uint64_t>(result.samples)).add("method", result.method);
    list.push(json);
  }
  utsname host{};
  ::uname(&host);
  sbx::Json whole = sbx::Json::object();
  whole.add("kernel", host.release).add("cpus", static_cast<std::int64_t>(::sysconf(_SC_NPROCESSORS_ONLN)));
  whole.add("root", ::geteuid() == 0).add("results", list);
  return whole.str() + "\n";
}

void print(const std::vector<Result>& results) {
  const auto number = [](double value) {
    char text[32];
    if (!std::isfinite(value)) return std::string("-");
    std::snprintf(text, sizeof text, std::fabs(value) < 10 ? "%.3f" : std::fabs(value) < 100 ? "%.2f" : "%.0f", value);
    return std::string(text);
  };
  std::printf("\n%-22s %-6s %9s %9s %9s %7s  %-4s  %s\n", "scenario", "unit", "p50", "p99", "floor", "ratio", "bar", "asked for; peers");
  for (const auto& result : results) {
    if (!result.skipped.empty()) {
      std::printf("%-22s skipped: %s\n", result.scenario.c_str(), result.skipped.c_str());
      continue;
    }
    if (!result.error.empty()) {
      std::printf("%-22s failed: %s\n", result.scenario.c_str(), result.error.c_str());
      continue;
    }
    std::string tail = result.bar;
    if (result.overhead) tail += " (" + number(*result.overhead) + ")";
    for (const auto& [name, value] : result.peers) tail += (tail.empty() ? "" : "; ") + name + " " + number(value);
    std::printf("%-22s %-6s %9s %9s %9s %7s  %-4s  %s\n", result.scenario.c_str(), result.unit.c_str(), number(result.p50).c_str(),
                number(result.p99).c_str(), number(result.floor).c_str(), number(result.ratio).c_str(),
                result.pass ? (*result.pass ? "ok" : "MISS") : "", tail.c_str());
  }
  std::printf("\nmethods\n");
  for (const auto& result : results) {
    if (!result.method.empty()) std::printf("  %s (n=%zu): %s\n", result.scenario.c_str(), result.samples, result.method.c_str());
  }
}

}  // namespace bench
