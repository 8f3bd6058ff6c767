#include "op.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "values.hpp"

namespace sandbox::c {

bool OpState::wait(core::TimePoint deadline) {
  std::unique_lock lock(mutex_);
  const auto ended = [this] { return done(); };
  if (deadline == core::TimePoint::max()) {
    changed_.wait(lock, ended);
    return true;
  }
  return changed_.wait_until(lock, deadline, ended);
}

void OpState::cancel() {
  detail::Canceller cancel;
  {
    std::lock_guard lock(mutex_);
    cancel = cancel_;
  }
  if (cancel) cancel();
}

Result<int> OpState::fd() {
  std::lock_guard lock(mutex_);
  if (!event_) {
    event_ = core::UniqueFd(::eventfd(done() ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event_) return Error::from_errno(errno, "op.eventfd");
  }
  return event_.get();
}

Result<void> OpState::notify(const std::shared_ptr<QueueState>& queue, std::uint64_t tag) {
  std::lock_guard lock(mutex_);
  if (notifies_) return Error(ErrorCode::failed_precondition, "the operation reports to a queue already");
  notifies_ = true;
  if (done()) {
    if (queue->put(tag)) queue->wake();
  } else {
    queue_ = queue;
    tag_ = tag;
  }
  return {};
}

void OpState::attach(detail::Canceller cancel) {
  std::lock_guard lock(mutex_);
  if (!done()) cancel_.swap(cancel);
}

void OpState::drop() {
  {
    std::lock_guard lock(mutex_);
    dropped_ = true;
  }
  if (done()) give_back_outcome();
  else cancel();
}

OpState::Aftermath OpState::end() {
  done_.store(true, std::memory_order_release);
  underway_.fetch_sub(1, std::memory_order_relaxed);
  changed_.notify_all();
  if (event_) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);  // cannot fail: the counter was 0
  }
  // The tag under the lock: whoever sees the op done finds it in the queue, and none comes after sbx_op_free. The wake-up
  // without: who wakes up wants this lock at once.
  auto queue = dropped_ ? nullptr : queue_.lock();
  if (queue && !queue->put(tag_)) queue = nullptr;
  return {std::exchange(cancel_, nullptr), std::move(queue)};
}

}  // namespace sandbox::c

using namespace sandbox;
using namespace sandbox::c;

int sbx_op_done(const sbx_op* op) { return op && op->state->done() ? 1 : 0; }

sbx_code sbx_op_wait(sbx_op* op, int64_t timeout_ms, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    if (!op) return null_argument("op");
    const auto deadline = timeout_ms < 0 ? core::TimePoint::max() : core::SteadyClock::now() + clamped_time(timeout_ms);
    if (!op->state->wait(deadline)) return Error(ErrorCode::deadline_exceeded, "the operation is still under way");
    return {};
  });
}

void sbx_op_cancel(sbx_op* op) {
  if (op) guard(nullptr, [&]() -> Result<void> { return op->state->cancel(), Result<void>(); });
}

sbx_code sbx_op_fd(sbx_op* op, int* fd, sbx_error** err) {
  return guard(err, fd, -1, [&]() -> Result<int> {
    if (!op) return null_argument("op");
    return op->state->fd();
  });
}

sbx_code sbx_op_notify(sbx_op* op, sbx_queue* queue, uint64_t tag, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    if (!op) return null_argument("op");
    if (!queue) return null_argument("queue");
    return op->state->notify(queue->state, tag);
  });
}

void sbx_op_free(sbx_op** op) { free_handle(op); }

sbx_code sbx_op_take(sbx_op* op, sbx_error** err) {
  return take<Nothing>(op, err, true, [](Nothing) {});
}
sbx_code sbx_op_take_count(sbx_op* op, uint64_t* count, sbx_error** err) {
  if (count) *count = 0;
  return take<std::uint64_t>(op, err, count != nullptr, [count](std::uint64_t value) { *count = value; });
}
sbx_code sbx_op_take_bytes(sbx_op* op, sbx_bytes** bytes, sbx_error** err) { return take_handle(op, bytes, err); }
