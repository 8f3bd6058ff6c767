// How a sandbox ends by itself or is given back, and how all of them do when the runtime closes.
#include <algorithm>
#include <thread>

#include "core/sync_point.hpp"
#include "runtime/runtime_state.hpp"

namespace sandbox {

using runtime::LocalBox;

void RuntimeState::on_exit(std::uint64_t token) {
  BoxPtr box;
  bool was_warm = false;
  {
    std::lock_guard lock(mutex_);
    const auto found = boxes_.find(token);
    if (found == boxes_.end()) return;
    box = found->second.lock();
    if (!box) return;
    switch (box->phase()) {
      case LocalBox::Phase::making: box->set_phase(LocalBox::Phase::lost); return;  // its maker looks
      case LocalBox::Phase::warm: {
        auto& ready = box->profile()->ready;
        const auto member = std::find(ready.begin(), ready.end(), box);
        if (member == ready.end()) return;  // being discarded
        ready.erase(member);
        box->profile()->policy.member_lost();
        refillers_.plan(clock_.now());
        was_warm = true;
        break;
      }
      case LocalBox::Phase::live: break;
      case LocalBox::Phase::lost:
      case LocalBox::Phase::closed: return;
    }
    box->set_phase(LocalBox::Phase::lost);
  }
  // Freeing may block on the launcher; this thread must not.
  const bool posted = chores_.post([this, box, was_warm] {
    const std::string reason = box->bury();
    if (reason.empty()) return;  // closed by its owner meanwhile
    log(LogLevel::warning, box->id() + (was_warm ? " (in the pool)" : "") + " has ended: " + reason);
    emit(was_warm ? RuntimeEvent::Kind::pool_member_replaced : RuntimeEvent::Kind::lost, box->id(), reason);
  });
  static_cast<void>(posted);  // refused only while the runtime closes, which frees every box anyway
}

void RuntimeState::unwatch(const backend::Instance& instance) noexcept {
  if (monitor_) monitor_->remove(instance.exit_fd());
}

void RuntimeState::released(LocalBox& box) {
  bool was_live = false;
  ProfilePtr profile;  // freed outside the lock
  {
    std::lock_guard lock(mutex_);
    if (boxes_.erase(box.token()) == 0) return;
    was_live = box.handed_out();
    if (was_live) --live_;
    profile = box.forget_profile();
    --profile->alive;
    entrance_.place_free();
    if (closing_ && boxes_.empty()) idle_changed_.notify_all();
    refillers_.plan(clock_.now() + pool::PolicyOptions().settle);
  }
  if (was_live && box.phase() == LocalBox::Phase::closed && !box.left()) emit(RuntimeEvent::Kind::destroyed, box.id(), {});
}

Result<void> RuntimeState::close() { return shut_down(false); }

Result<void> RuntimeState::leave() {
  if (!options_.is_persistent()) return Error(ErrorCode::failed_precondition, "this runtime is not persistent").with_operation("runtime.leave");
  if (closed()) return Error(ErrorCode::failed_precondition, "this runtime is closed").with_operation("runtime.leave");
  return shut_down(true);
}

Result<void> RuntimeState::shut_down(bool leave) {
  std::lock_guard one_at_a_time(close_mutex_);
  if (closed_) return {};
  closed_ = true;
  {
    std::lock_guard lock(mutex_);
    closing_.store(true, std::memory_order_release);
    SANDBOX_SYNC_POINT("runtime.closing");
    entrance_.close();
  }
  warm_changed_.notify_all();
  refillers_.stop();
  creators_.stop();
  {
    std::unique_lock lock(mutex_);
    idle_changed_.wait(lock, [&] { return in_flight_ == 0; });
  }

  std::vector<BoxPtr> boxes;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [token, weak] : boxes_)
      if (BoxPtr box = weak.lock()) boxes.push_back(std::move(box));
    for (const auto& [key, profile] : profiles_) profile->ready.clear();
    adopted_ = {};  // `boxes` has them
  }
  // Several at a time: each destruction mostly waits for the kernel.
  std::optional<Error> first_failure;
  {
    std::mutex result_mutex;
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      for (std::size_t i = next++; i < boxes.size(); i = next++) {
        auto closed = leave && boxes[i]->handed_out() ? boxes[i]->leave_behind() : boxes[i]->close();
        if (closed) continue;
        std::lock_guard lock(result_mutex);
        if (first_failure) closed.ignore("the first one is reported");
        else first_failure = std::move(closed).error();
      }
    };
    std::vector<std::thread> helpers;
    for (std::size_t i = 1; i < std::min<std::size_t>(8, (boxes.size() + 3) / 4); ++i)
      helpers.push_back(runtime::start_thread("sandbox-close", work));
    work();
    for (std::thread& helper : helpers) helper.join();
  }
  {
    // A box whose last handle is being dropped elsewhere is past being held, and frees itself.
    std::unique_lock lock(mutex_);
    idle_changed_.wait(lock, [&] { return boxes_.empty(); });
  }
  SANDBOX_SYNC_POINT("runtime.boxes_closed");
  boxes.clear();
  chores_.stop();
  {
    std::lock_guard lock(mutex_);
    default_profile_.reset();
    profiles_.clear();
  }
  for (const auto& backend : backends_) {
    auto closed = leave ? backend->leave() : backend->close();
    if (closed) continue;
    if (first_failure) closed.ignore("the first one is reported");
    else first_failure = std::move(closed).error();
  }
  monitor_.reset();
  if (reactor_) reactor_->stop();
  if (first_failure) return *std::move(first_failure);
  return {};
}

}  // namespace sandbox
