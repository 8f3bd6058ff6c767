#include "runtime/refill_threads.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <utility>

#include "runtime/worker_threads.hpp"

namespace sandbox::runtime {

Result<void> RefillThreads::start(unsigned count, Look look) {
  look_ = std::move(look);
  for (unsigned i = 0; i < count; ++i) {
    SANDBOX_TRY(auto alarm, aio::Alarm::make());
    sleepers_.push_back(std::make_unique<Sleeper>(std::move(alarm)));
  }
  for (const auto& sleeper : sleepers_) {
    sleeper->thread = start_thread("sandbox-refill", [this, &self = *sleeper] { run(self); });
    // A waking batch thread does not push the caller it was woken by off its core. Refused: only latency suffers.
    sched_param none{};
    static_cast<void>(::pthread_setschedparam(sleeper->thread.native_handle(), SCHED_BATCH, &none));
  }
  return {};
}

void RefillThreads::plan(core::TimePoint when) {
  Sleeper* free = nullptr;
  for (const auto& sleeper : sleepers_) {
    if (!sleeper->asleep) continue;
    if (sleeper->until <= when) return;
    free = sleeper.get();
  }
  if (!free) return;  // all are at it, and look again behind that
  free->until = when;
  free->alarm.set(when);
}

void RefillThreads::run(Sleeper& self) {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    self.until = look_(lock);
    if (stopping_) return;
    self.alarm.set(self.until);
    self.asleep = true;
    lock.unlock();
    self.alarm.sleep();
    lock.lock();
    self.asleep = false;
  }
}

void RefillThreads::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& sleeper : sleepers_) sleeper->alarm.set(core::SteadyClock::now());
  }
  for (const auto& sleeper : sleepers_)
    if (sleeper->thread.joinable()) sleeper->thread.join();
}

}  // namespace sandbox::runtime
