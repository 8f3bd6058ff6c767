#include "runtime/entrance.hpp"

#include <algorithm>
#include <string>

namespace sandbox::runtime {

Error closing_error() { return Error(ErrorCode::unavailable, "the runtime is closed").with_operation("runtime.create"); }

Result<Entrance::BoxPtr> Entrance::enter(Lock& lock, const Profile& profile, core::TimePoint deadline, Cancellation* cancellation,
                                         const std::function<void(Lock&)>& make_room) {
  if (admission_.try_enter()) return BoxPtr();
  Waiter waiter;
  waiter.profile = &profile;
  const auto ticket = admission_.wait(deadline);
  waiters_.emplace(ticket, &waiter);
  if (cancellation != nullptr) cancellation->waiter_ = &waiter;
  if (admission_.full()) make_room(lock);
  const auto over = [&] { return waiter.granted || waiter.box || waiter.cancelled || closed_; };
  waiter.changed.wait_until(lock, deadline, over);
  if (cancellation != nullptr) cancellation->waiter_ = nullptr;
  waiters_.erase(ticket);
  if (waiter.box) return waiter.box;
  if (waiter.granted && !closed_) return BoxPtr();
  if (waiter.granted) {
    admission_.maker_done();
    admission_.place_free();
  } else {
    admission_.leave(ticket);
  }
  pump();  // whoever stood behind may be next
  if (closed_) return closing_error();
  if (waiter.cancelled) return Error(ErrorCode::cancelled, "the create was cancelled");
  if (admission_.full())
    return Error(ErrorCode::resource_exhausted, "all " + std::to_string(admission_.places()) +
                                                    " sandboxes of this runtime are in use and none was closed in time")
        .with_operation("runtime.create")
        .with_retry(Retry::after_backoff);
  return Error(ErrorCode::deadline_exceeded, "other creations were under way until the deadline")
      .with_operation("runtime.create")
      .with_retry(Retry::after_backoff);
}

void Entrance::cancel(Cancellation& cancellation) {
  cancellation.requested_ = true;
  if (cancellation.waiter_ == nullptr) return;
  cancellation.waiter_->cancelled = true;
  cancellation.waiter_->changed.notify_one();
}

void Entrance::maker_done() {
  admission_.maker_done();
  pump();
}

void Entrance::place_free() {
  admission_.place_free();
  pump();
}

bool Entrance::give(const Profile& profile, const BoxPtr& box) {
  const auto found = std::find_if(waiters_.begin(), waiters_.end(), [&](const auto& entry) {
    return entry.second->profile == &profile && !entry.second->granted && !entry.second->box && !entry.second->cancelled;
  });
  if (found == waiters_.end()) return false;
  admission_.leave(found->first);
  found->second->box = box;
  found->second->changed.notify_one();
  pump();
  return true;
}

void Entrance::close() {
  closed_ = true;
  for (auto& [ticket, waiter] : waiters_) waiter->changed.notify_one();
}

/// Lets waiters in while there is room.
void Entrance::pump() {
  while (const auto ticket = admission_.grant()) {
    const auto found = waiters_.find(*ticket);
    if (found == waiters_.end()) {  // it is leaving at this moment
      admission_.maker_done();
      admission_.place_free();
      continue;
    }
    found->second->granted = true;
    found->second->changed.notify_one();
  }
}

}  // namespace sandbox::runtime
