#include "pool/admission.hpp"

#include <algorithm>

namespace sandbox::pool {

bool Admission::try_enter() {
  if (!queue_.empty() || !room()) return false;
  ++used_;
  ++making_;
  return true;
}

Admission::Ticket Admission::wait(core::TimePoint deadline) {
  queue_.push_back({++last_ticket_, deadline});
  return last_ticket_;
}

bool Admission::leave(Ticket ticket) {
  const auto found = std::find_if(queue_.begin(), queue_.end(), [&](const Waiter& w) { return w.ticket == ticket; });
  if (found == queue_.end()) return false;
  queue_.erase(found);
  return true;
}

std::optional<Admission::Ticket> Admission::grant() {
  if (queue_.empty() || !room()) return std::nullopt;
  const Ticket ticket = queue_.front().ticket;
  queue_.pop_front();
  ++used_;
  ++making_;
  return ticket;
}

std::vector<Admission::Ticket> Admission::expire(core::TimePoint now) {
  std::vector<Ticket> late;
  std::erase_if(queue_, [&](const Waiter& waiter) {
    if (waiter.deadline > now) return false;
    late.push_back(waiter.ticket);
    return true;
  });
  return late;
}

bool Admission::try_refill() {
  if (!queue_.empty() || used_ >= places_) return false;
  ++used_;
  return true;
}

}  // namespace sandbox::pool
