#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "core/clock.hpp"

namespace sandbox::pool {

/// Who may make a sandbox now. A creation needs a place (held as long as the sandbox lives) and a maker (held while it
/// is being made); callers who find none wait in one queue, first come, first served, each with a deadline. Background
/// refills take what nobody waits for. Sans-I/O and not thread-safe.
class Admission {
 public:
  using Ticket = std::uint64_t;

  /// `places`: sandboxes alive at once, pool members included. `makers`: creations by callers at a time.
  Admission(std::uint32_t places, std::uint32_t makers) : places_(places), makers_(makers) {}

  /// Takes a place and a maker when both are free and nobody waits.
  bool try_enter();
  /// Joins the end of the queue.
  Ticket wait(core::TimePoint deadline);
  /// The waiter goes away without having been granted. Returns whether it was still waiting.
  bool leave(Ticket ticket);
  /// Lets the longest waiter in when a place and a maker are free. Call after anything was given back until it is empty.
  std::optional<Ticket> grant();
  /// Removes and returns the waiters whose deadline has come.
  std::vector<Ticket> expire(core::TimePoint now);

  /// Takes a place for a refill: only when one is free and nobody waits.
  bool try_refill();

  /// Takes a place for a sandbox that is there already, even beyond the limit.
  void force_place() { ++used_; }

  /// The creation ended; its place stays taken.
  void maker_done() { making_ -= making_ > 0; }
  /// A sandbox (or a creation that failed) is gone.
  void place_free() { used_ -= used_ > 0; }

  bool full() const noexcept { return used_ >= places_; }
  std::uint32_t used() const noexcept { return used_; }
  std::uint32_t places() const noexcept { return places_; }
  std::uint32_t making() const noexcept { return making_; }
  std::size_t waiting() const noexcept { return queue_.size(); }

 private:
  struct Waiter {
    Ticket ticket;
    core::TimePoint deadline;
  };
  bool room() const noexcept { return used_ < places_ && making_ < makers_; }

  std::uint32_t places_, makers_;
  std::uint32_t used_ = 0, making_ = 0;
  Ticket last_ticket_ = 0;
  std::deque<Waiter> queue_;
};

}  // namespace sandbox::pool
