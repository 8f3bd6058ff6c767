#pragma once

#include <chrono>
#include <thread>
#include <utility>

namespace sandbox::testing {

/// Whether `condition` becomes true `within` that time. For what happens a moment after the call that caused it (a process
/// is reaped, a log line is written) and that nothing announces. The pause is a polling interval: no result depends on it.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds within = std::chrono::seconds(15),
                std::chrono::microseconds pause = std::chrono::milliseconds(2)) {
  const auto end = std::chrono::steady_clock::now() + within;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(pause);
  }
  return true;
}

/// What `look` says once it has said the same for `calm`, or after `within`. For what is filled in the background, of which
/// only the end can be compared with anything.
template <class Look>
auto steady(Look look, std::chrono::milliseconds calm = std::chrono::milliseconds(300),
            std::chrono::milliseconds within = std::chrono::seconds(15)) {
  const auto end = std::chrono::steady_clock::now() + within;
  auto seen = look();
  for (auto since = std::chrono::steady_clock::now(); std::chrono::steady_clock::now() - since < calm;) {
    if (std::chrono::steady_clock::now() >= end) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    auto now = look();
    if (now == seen) continue;
    seen = std::move(now);
    since = std::chrono::steady_clock::now();
  }
  return seen;
}

}  // namespace sandbox::testing
