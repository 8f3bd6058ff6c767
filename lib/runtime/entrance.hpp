#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include <sandbox/result.hpp>

#include "core/clock.hpp"
#include "pool/admission.hpp"

namespace sandbox::runtime {

class LocalBox;
struct Profile;

/// What a caller is told once the runtime closes.
Error closing_error();

/// Where callers wait until they may make a sandbox. pool::Admission decides who may; this holds the threads that wait. A pool's
/// member that becomes ready meanwhile goes to whoever has waited for that pool longest. Everything happens under one lock, the
/// runtime's; only enter() gives it up, while it waits.
class Entrance {
  struct Waiter;

 public:
  using BoxPtr = std::shared_ptr<LocalBox>;
  using Lock = std::unique_lock<std::mutex>;

  /// Calls one enter() off, whenever it comes to it.
  class Cancellation {
   public:
    bool requested() const noexcept { return requested_; }

   private:
    friend class Entrance;
    bool requested_ = false;
    Waiter* waiter_ = nullptr;  ///< while it waits
  };

  /// `places`: sandboxes alive at once, pool members included. `makers`: creations by callers at a time.
  Entrance(std::uint32_t places, std::uint32_t makers) : admission_(places, makers) {}

  /// Waits until the caller may make a sandbox of `profile` (null, and maker_done() follows), or was given one. `make_room` is
  /// called once if all places are taken. `cancellation` may be null. Errors: cancelled; resource_exhausted (no place until the
  /// deadline), deadline_exceeded (no maker until the deadline), closing_error().
  Result<BoxPtr> enter(Lock& lock, const Profile& profile, core::TimePoint deadline, Cancellation* cancellation,
                       const std::function<void(Lock&)>& make_room);
  void cancel(Cancellation& cancellation);
  /// The creation ended; its place stays taken.
  void maker_done();

  /// Takes a place for a member of a pool: only when one is free and nobody waits.
  bool try_refill() { return admission_.try_refill(); }
  /// Takes a place for a sandbox that is there already, even beyond the limit.
  void force_place() { admission_.force_place(); }
  /// A sandbox (or a creation that failed) is gone.
  void place_free();
  /// Gives `box`, which has a place, to the one who has waited for `profile` longest. False: nobody does.
  bool give(const Profile& profile, const BoxPtr& box);

  /// From now on nobody waits: closing_error().
  void close();

  /// Whether somebody waits for a place that is not free.
  bool crowded() const noexcept { return admission_.waiting() > 0 && admission_.full(); }
  /// Callers who make or wait.
  std::uint32_t callers() const noexcept { return static_cast<std::uint32_t>(admission_.making() + admission_.waiting()); }

 private:
  struct Waiter {
    std::condition_variable changed;
    const Profile* profile = nullptr;
    bool granted = false;
    bool cancelled = false;
    BoxPtr box;  ///< a member that became ready meanwhile
  };
  void pump();

  pool::Admission admission_;
  std::map<pool::Admission::Ticket, Waiter*> waiters_;  ///< by ticket: in order of arrival
  bool closed_ = false;
};

}  // namespace sandbox::runtime
