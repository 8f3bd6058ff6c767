#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>
#include <sandbox/service.hpp>

/// What happened, for GET /events and /events/history (sandbox-protocol section 1.10). Sans-I/O; one thread, the reactor's.
namespace sandbox::server {

/// A ring of past events, and readers that follow it.
///
/// A subscriber has no queue of its own: it is a place in the ring, so a slow one costs nothing, sees each event once, and
/// misses some only when the whole ring went by; then it is told (events.gap) and goes on with the oldest there is.
class EventLog {
 public:
  static constexpr std::size_t kCapacity = 10000;
  static constexpr std::size_t kMaxSubscribers = 100;
  static constexpr std::uint64_t kMaxHistory = 10000;

  class Subscription;

  /// `last`: the id before the first event's, from an earlier run of the daemon; events up to it count as dropped.
  explicit EventLog(std::uint64_t last = 0, std::size_t capacity = kCapacity);
  ~EventLog();
  EventLog(const EventLog&) = delete;

  /// Adds an event and wakes the subscribers it concerns. `data`: compact JSON or empty. Returns its id.
  std::uint64_t publish(std::string_view type, std::string_view sandbox_id, std::string_view identity, std::string data,
                        std::chrono::system_clock::time_point time);
  std::uint64_t last() const noexcept { return last_; }

  /// {"complete":…,"events":[…],"seq":…}: events after `after`, oldest first, at most `limit`. An empty `identity` is
  /// everybody's.
  std::string history(std::uint64_t after, std::uint64_t limit, std::string_view identity) const;

  /// Follows the log, from the events after `after` on (0: from the first there is), or from now on when that is absent.
  /// `wake` is called, from publish(), when there is something to take and everything before was taken; it must not call
  /// the log. Null: there are kMaxSubscribers.
  std::unique_ptr<Subscription> subscribe(std::string identity, std::optional<std::uint64_t> after, std::function<void()> wake);
  std::size_t subscribers() const noexcept { return subscribers_.size(); }

 private:
  struct Kept {
    std::string identity;
    std::string json;
  };
  std::uint64_t oldest() const noexcept { return last_ - size_ + 1; }  ///< last_ + 1 when empty
  const Kept& at(std::uint64_t id) const noexcept { return ring_[id % ring_.size()]; }

  std::vector<Kept> ring_;
  std::size_t size_ = 0;
  std::uint64_t last_;
  std::list<Subscription*> subscribers_;
};

/// A reader's place. Must not outlive its log. Destroying it ends the subscription.
class EventLog::Subscription {
 public:
  ~Subscription();
  Subscription(const Subscription&) = delete;
  /// The next events as server-sent events ("id: 7\ndata: {…}\n\n"), at least one if there is any, at most about `bytes`;
  /// empty when there are none. "event: events.gap" comes first when some were missed.
  std::string take(std::size_t bytes = 64 << 10);

 private:
  friend class EventLog;
  Subscription(EventLog& log, std::string identity, std::uint64_t next, std::function<void()> wake);

  EventLog& log_;
  std::string identity_;
  std::uint64_t next_;  ///< id it wants to see next
  bool waiting_ = true;  ///< to be woken
  std::optional<std::uint64_t> lost_after_;
  std::function<void()> wake_;
  std::list<Subscription*>::iterator place_;
};

/// Query of /events/history. `after`: a leading integer counts ("12abc" is 12); `limit`: 1 … kMaxHistory, more is kMaxHistory.
struct HistoryQuery {
  std::uint64_t after = 0;
  std::uint64_t limit = 1000;
};
/// Error: invalid_argument with the words of the specification.
Result<HistoryQuery> read_history_query(std::optional<std::string_view> after, std::optional<std::string_view> limit);

}  // namespace sandbox::server
