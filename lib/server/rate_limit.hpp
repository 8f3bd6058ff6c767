#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/clock.hpp"

namespace sandbox::server {

/// At most `max` hits of one key within any `window`. Blocked attempts do not count, so a client that keeps trying gets
/// in as soon as its oldest hit is a window ago. At most `entries` keys are remembered: the one whose latest hit is
/// oldest is forgotten first. Memory: 8 bytes × max × entries at worst. Sans-I/O, one thread, every call O(1).
class RateLimiter {
 public:
  struct Options {
    std::uint32_t max = 20;  ///< 0: no limit
    core::Duration window = std::chrono::seconds(60);
    std::size_t entries = 10000;
  };
  /// `clock` must outlive the limiter.
  RateLimiter(Options options, const core::Clock& clock) : options_(options), clock_(&clock) {}
  /// Keeps what was counted.
  void set_options(Options options);

  bool blocked(std::string_view key);
  void record(std::string_view key);
  /// Records a hit unless the key is blocked; false when it is.
  bool admit(std::string_view key);
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    std::string key;
    std::deque<core::TimePoint> hits;  ///< oldest first
  };
  using List = std::list<Entry>;  ///< latest hit last
  void expire(core::TimePoint now);
  void trim(Entry& entry, core::TimePoint now) const;

  Options options_;
  const core::Clock* clock_;
  List entries_;
  std::unordered_map<std::string_view, List::iterator> index_;  ///< keys live in the list
};

}  // namespace sandbox::server
