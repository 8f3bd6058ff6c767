#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <sandbox/client.hpp>
#include <sandbox/pool.hpp>

#include "op.hpp"
#include "values.hpp"

namespace sandbox::c {

/// Events on their way to one reader, oldest first. Thread-safe.
class EventFeed {
 public:
  static constexpr std::size_t kMost = 4096;

  /// For a source that cannot wait: the oldest event makes room, and gap() says so.
  void offer(std::string json);
  /// For a source that can: waits for room. False when the feed is over.
  bool put(std::string json);
  /// Nothing more comes; after what waits, readers get `why`. The first reason counts.
  void end(const Error& why);
  void mark_gap() noexcept { gap_.store(true); }

  /// Errors: deadline_exceeded, and why the feed ended.
  Result<BytesPtr> next(core::TimePoint deadline);
  void ask(const OpPtr<BytesPtr>& op);
  bool gap() const noexcept { return gap_.load(); }

 private:
  void settle(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> waiting_;
  std::deque<OpPtr<BytesPtr>> asking_;
  std::optional<Error> over_;
  std::atomic<bool> gap_{false};
};

/// A runtime's events, for as many readers as ask. Its observer can only be set when the runtime opens, so this is it.
class EventHub {
 public:
  std::shared_ptr<EventFeed> subscribe();
  void publish(const RuntimeEvent& event);
  void end(const Error& why);

 private:
  std::mutex mutex_;
  std::vector<std::weak_ptr<EventFeed>> feeds_;
  std::optional<Error> over_;
};

/// Reads a daemon's events on a thread of its own, one for each stream.
class EventPump {
 public:
  EventPump(EventStream stream, std::shared_ptr<EventFeed> feed);
  ~EventPump();
  void cancel() noexcept { stream_.cancel(); }

 private:
  void run();
  EventStream stream_;
  const std::shared_ptr<EventFeed> feed_;
  std::thread thread_;
};

}  // namespace sandbox::c

struct sbx_events {
  explicit sbx_events(std::shared_ptr<sandbox::c::EventFeed> source) : feed(std::move(source)) {}
  explicit sbx_events(sandbox::EventStream stream)
      : feed(std::make_shared<sandbox::c::EventFeed>()), pump(std::make_unique<sandbox::c::EventPump>(std::move(stream), feed)) {}
  ~sbx_events() { cancel(); }
  static void retire(std::unique_ptr<sbx_events> handle);
  void cancel() noexcept;

  const std::shared_ptr<sandbox::c::EventFeed> feed;
  const std::unique_ptr<sandbox::c::EventPump> pump;  ///< a daemon's only
};
