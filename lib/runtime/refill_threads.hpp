#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <sandbox/result.hpp>

#include "aio/alarm.hpp"
#include "core/clock.hpp"

namespace sandbox::runtime {

/// The threads that keep the pools full. Each looks what is to be done, under the runtime's lock, again and again; in between it
/// sleeps until the time that its look returned, or an earlier one that somebody plans. Planning wakes nobody before that time
/// (aio::Alarm): the caller who was just given a sandbox has the processors to himself.
class RefillThreads {
 public:
  /// Called under the lock. If it lets that go, it looks once more before it returns: nobody plans for a thread that is at it.
  /// Returns when to look again: at once when that has passed.
  using Look = std::function<core::TimePoint(std::unique_lock<std::mutex>&)>;

  explicit RefillThreads(std::mutex& mutex) noexcept : mutex_(mutex) {}
  ~RefillThreads() { stop(); }
  RefillThreads(const RefillThreads&) = delete;

  /// Once, before anything is planned. Errors: resource_exhausted (descriptors).
  Result<void> start(unsigned count, Look look);
  /// One of the threads looks at `when` if it sleeps, and none does earlier. Under the lock.
  void plan(core::TimePoint when);
  /// Waits for looks under way. Not under the lock. Later plans do nothing.
  void stop();

 private:
  struct Sleeper {
    explicit Sleeper(aio::Alarm own) noexcept : alarm(std::move(own)) {}
    const aio::Alarm alarm;
    bool asleep = false;
    core::TimePoint until{};  ///< while asleep
    std::thread thread;
  };
  void run(Sleeper& self);

  std::mutex& mutex_;
  Look look_;
  std::vector<std::unique_ptr<Sleeper>> sleepers_;
  bool stopping_ = false;
};

}  // namespace sandbox::runtime
