#include "events.hpp"

#include <algorithm>

#include "aio/worker_threads.hpp"
#include "arguments.hpp"
#include "json.hpp"
#include "rest/rest.hpp"
#include "workers.hpp"

namespace sandbox::c {

// ---- EventFeed ----------------------------------------------------------------------------------------------------------

void EventFeed::offer(std::string json) {
  std::unique_lock lock(mutex_);
  if (over_) return;
  if (waiting_.size() >= kMost) {
    waiting_.pop_front();
    mark_gap();
  }
  waiting_.push_back(std::move(json));
  settle(lock);
}

bool EventFeed::put(std::string json) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return over_ || waiting_.size() < kMost; });
  if (over_) return false;
  waiting_.push_back(std::move(json));
  settle(lock);
  return true;
}

void EventFeed::end(const Error& why) {
  why.ignore("told to whoever reads");
  std::unique_lock lock(mutex_);
  if (!over_) {
    over_.emplace(why);
    over_->ignore("told to whoever reads");
  }
  settle(lock);
}

Result<BytesPtr> EventFeed::next(core::TimePoint deadline) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return over_ || !waiting_.empty(); };
  if (deadline == core::TimePoint::max()) changed_.wait(lock, ready);
  else if (!changed_.wait_until(lock, deadline, ready)) return Error(ErrorCode::deadline_exceeded, "no event in time");
  if (waiting_.empty()) return *over_;
  BytesPtr json = own(std::move(waiting_.front()));
  waiting_.pop_front();
  changed_.notify_all();
  return json;
}

void EventFeed::ask(const OpPtr<BytesPtr>& op) {
  op->attach([weak = std::weak_ptr(op)] {
    if (auto self = weak.lock()) self->complete(Error(ErrorCode::cancelled, "cancelled by the caller"));
  });
  std::unique_lock lock(mutex_);
  std::erase_if(asking_, [](const auto& other) { return other->done(); });
  asking_.push_back(op);
  settle(lock);
}

/// Gives waiting events to waiting ops, and wakes waiting threads.
void EventFeed::settle(std::unique_lock<std::mutex>& lock) {
  changed_.notify_all();
  while (!asking_.empty() && (over_ || !waiting_.empty())) {
    const auto op = std::move(asking_.front());
    asking_.pop_front();
    if (op->done()) continue;
    if (waiting_.empty()) {
      op->complete(*over_);
      continue;
    }
    std::string json = std::move(waiting_.front());
    waiting_.pop_front();
    // An op that was cancelled just now must not take the event with it.
    if (!op->complete(own(json))) waiting_.push_front(std::move(json));
  }
  lock.unlock();
}

// ---- EventHub -----------------------------------------------------------------------------------------------------------

std::shared_ptr<EventFeed> EventHub::subscribe() {
  auto feed = std::make_shared<EventFeed>();
  std::lock_guard lock(mutex_);
  std::erase_if(feeds_, [](const auto& other) { return other.expired(); });
  feeds_.push_back(feed);
  if (over_) feed->end(*over_);
  return feed;
}

void EventHub::publish(const RuntimeEvent& event) {
  std::lock_guard lock(mutex_);
  std::optional<std::string> json;
  for (const auto& weak : feeds_) {
    const auto feed = weak.lock();
    if (!feed) continue;
    if (!json) json = write_json(event);
    feed->offer(*json);
  }
}

void EventHub::end(const Error& why) {
  std::lock_guard lock(mutex_);
  why.ignore("told to whoever reads");
  if (!over_) over_ = why;
  over_->ignore("told to whoever reads");
  for (const auto& weak : feeds_) {
    if (const auto feed = weak.lock()) feed->end(why);
  }
}

// ---- EventPump ----------------------------------------------------------------------------------------------------------

EventPump::EventPump(EventStream stream, std::shared_ptr<EventFeed> feed) : stream_(std::move(stream)), feed_(std::move(feed)) {
  thread_ = aio::start_thread("sbx-events", [this] { run(); });
}

EventPump::~EventPump() {
  stream_.cancel();
  feed_->end(Error(ErrorCode::cancelled, "the events were cancelled"));
  thread_.join();
}

void EventPump::run() {
  for (;;) {
    auto event = stream_.next();
    if (!event) return feed_->end(event.error());
    if (stream_.gap()) feed_->mark_gap();
    if (*event && !feed_->put(rest::write(**event))) return;
  }
}

}  // namespace sandbox::c

using namespace sandbox;
using namespace sandbox::c;

void sbx_events::cancel() noexcept {
  guard(nullptr, [&]() -> Result<void> {
    feed->end(Error(ErrorCode::cancelled, "the events were cancelled"));
    if (pump) pump->cancel();
    return {};
  });
}

void sbx_events::retire(std::unique_ptr<sbx_events> handle) { destroy_later(std::move(handle)); }

sbx_code sbx_events_next(sbx_events* events, int64_t timeout_ms, sbx_bytes** json, sbx_error** err) {
  return guard(err, json, [&]() -> Result<BytesPtr> {
    if (!events) return null_argument("events");
    SANDBOX_TRY(const auto timeout, time_of(timeout_ms, std::chrono::milliseconds::max()));
    return events->feed->next(timeout_ms == 0 ? core::TimePoint::max() : core::SteadyClock::now() + timeout);
  });
}

sbx_op* sbx_events_next_start(sbx_events* events) {
  return start<BytesPtr>([&](const OpPtr<BytesPtr>& op) -> Result<void> {
    if (!events) return null_argument("events");
    events->feed->ask(op);
    return {};
  });
}

int sbx_events_gap(const sbx_events* events) { return events && events->feed->gap() ? 1 : 0; }
void sbx_events_cancel(sbx_events* events) {
  if (events) events->cancel();
}
void sbx_events_free(sbx_events** events) { free_handle(events); }
sbx_code sbx_op_take_events(sbx_op* op, sbx_events** events, sbx_error** err) { return take_handle(op, events, err); }
