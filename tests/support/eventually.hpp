#pragma once

#include <chrono>
#include <thread>

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

}  // namespace sandbox::testing
