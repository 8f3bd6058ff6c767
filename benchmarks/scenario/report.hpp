#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

/// Samples, results, and how they are shown.
namespace bench {

using Clock = std::chrono::steady_clock;

/// Values of one thing measured again and again.
class Samples {
 public:
  void add(double value) { values_.push_back(value); }
  void add(Clock::duration time, double unit_ns);
  void append(const Samples& more) { values_.insert(values_.end(), more.values_.begin(), more.values_.end()); }
  bool empty() const { return values_.empty(); }
  std::size_t size() const { return values_.size(); }
  /// Nearest rank, 0 < share ≤ 1. Of nothing: NaN.
  double percentile(double share) const;
  double p50() const { return percentile(0.5); }
  double p99() const { return percentile(0.99); }

 private:
  std::vector<double> values_;
};

/// One line of the report. Missing numbers are NaN and become null.
struct Result {
  std::string scenario;
  std::string unit;
  double p50 = 0, p99 = 0;
  double floor = 0;                    ///< p50 of the floor, same unit, same run
  double ratio = 0;                    ///< ours / floor
  std::optional<double> overhead;      ///< ours less floor, median of the rounds, where the bar is on that
  std::string bar;                     ///< what is asked for, in words
  std::optional<bool> pass;            ///< nothing: there is no bar
  std::map<std::string, double> peers; ///< p50 of others doing the same
  std::string method;                  ///< how it was measured, and against which floor
  std::size_t samples = 0;
  std::string error;                   ///< why there is no figure
  std::string skipped;                 ///< what this host lacks for it
};

/// What this host lacks to measure a scenario.
struct Skip : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A Result from samples; p99 is the slow end (`higher_is_better`: the 1st percentile).
Result summarise(std::string scenario, std::string unit, const Samples& ours, const Samples& floor, bool higher_is_better = false);

std::string to_json(const std::vector<Result>& results);
/// Prints the table for people, then the methods.
void print(const std::vector<Result>& results);

}  // namespace bench
