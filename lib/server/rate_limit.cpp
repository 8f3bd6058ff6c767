#include "server/rate_limit.hpp"

namespace sandbox::server {

void RateLimiter::set_options(Options options) {
  options_ = options;
  while (entries_.size() > options_.entries) {
    index_.erase(entries_.front().key);
    entries_.pop_front();
  }
}

bool RateLimiter::blocked(std::string_view key) {
  if (options_.max == 0) return false;
  const core::TimePoint now = clock_->now();
  expire(now);
  const auto found = index_.find(key);
  if (found == index_.end()) return false;
  trim(*found->second, now);
  return found->second->hits.size() >= options_.max;
}

void RateLimiter::record(std::string_view key) {
  if (options_.max == 0 || options_.entries == 0) return;
  const core::TimePoint now = clock_->now();
  expire(now);
  const auto found = index_.find(key);
  if (found != index_.end()) {
    entries_.splice(entries_.end(), entries_, found->second);
  } else {
    if (entries_.size() >= options_.entries) {
      index_.erase(entries_.front().key);
      entries_.pop_front();
    }
    entries_.push_back({std::string(key), {}});
    index_.emplace(entries_.back().key, std::prev(entries_.end()));
  }
  Entry& entry = entries_.back();
  trim(entry, now);
  entry.hits.push_back(now);
  if (entry.hits.size() > options_.max) entry.hits.pop_front();  // whoever records while blocked costs no memory
}

bool RateLimiter::admit(std::string_view key) {
  if (blocked(key)) return false;
  record(key);
  return true;
}

void RateLimiter::expire(core::TimePoint now) {
  // In order of the latest hit: the first that is young ends it. Each entry goes once, so this is O(1) amortised.
  while (!entries_.empty() && (entries_.front().hits.empty() || now - entries_.front().hits.back() >= options_.window)) {
    index_.erase(entries_.front().key);
    entries_.pop_front();
  }
}

void RateLimiter::trim(Entry& entry, core::TimePoint now) const {
  while (!entry.hits.empty() && now - entry.hits.front() >= options_.window) entry.hits.pop_front();
}

}  // namespace sandbox::server
