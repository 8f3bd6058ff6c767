#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.hpp"

namespace sandbox::server {

/// When which name is due: one time each. Sans-I/O, one thread; every call O(log n).
class Deadlines {
 public:
  /// Replaces the name's time.
  void set(const std::string& name, core::TimePoint when) {
    cancel(name);
    times_.emplace(name, when);
    order_.emplace(when, name);
  }
  void cancel(const std::string& name) {
    const auto found = times_.find(name);
    if (found == times_.end()) return;
    order_.erase({found->second, name});
    times_.erase(found);
  }
  /// The earliest time; TimePoint::max() when there is none.
  core::TimePoint next() const noexcept { return order_.empty() ? core::TimePoint::max() : order_.begin()->first; }
  /// Removes and returns the names whose time has come, earliest first.
  std::vector<std::string> expire(core::TimePoint now) {
    std::vector<std::string> due;
    while (!order_.empty() && order_.begin()->first <= now) {
      due.push_back(order_.begin()->second);
      times_.erase(due.back());
      order_.erase(order_.begin());
    }
    return due;
  }
  std::size_t size() const noexcept { return times_.size(); }

 private:
  std::map<std::string, core::TimePoint> times_;
  std::set<std::pair<core::TimePoint, std::string>> order_;
};

}  // namespace sandbox::server
