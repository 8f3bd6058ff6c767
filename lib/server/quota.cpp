#include "server/quota.hpp"

#include <utility>

namespace sandbox::server {
namespace {

/// Sums of shares like 0.1 do not add up exactly.
constexpr double kCpuSlack = 1e-6;

}  // namespace

Quota::Reservation::Reservation(std::shared_ptr<Books> books, std::string identity, std::uint64_t memory, double cpus)
    : books_(std::move(books)), identity_(std::move(identity)), memory_(memory), cpus_(cpus) {
  ++books_->sandboxes;
  books_->memory += memory_;
  books_->cpus += cpus_;
  ++books_->identities[identity_];
}

Quota::Reservation::~Reservation() {
  books_->memory -= memory_;
  books_->cpus -= cpus_;
  if (--books_->sandboxes == 0) books_->cpus = 0;  // no rounding error lasts
  if (const auto found = books_->identities.find(identity_); --found->second == 0) books_->identities.erase(found);
  if (books_->freed) books_->freed();
}

std::optional<Quota::Refusal> Quota::check_count(const std::string& identity, std::optional<std::uint32_t> most) const {
  if (books_->sandboxes >= limits_.sandboxes) return Refusal::capacity;
  if (!most) return std::nullopt;
  const auto found = books_->identities.find(identity);
  const std::uint32_t has = found == books_->identities.end() ? 0 : found->second;
  return has >= *most ? std::optional(Refusal::identity) : std::nullopt;
}

std::unique_ptr<Quota::Reservation> Quota::reserve(const std::string& identity, std::uint64_t memory, double cpus) {
  if (limits_.memory > 0 && (memory > limits_.memory || books_->memory > limits_.memory - memory)) return nullptr;
  if (limits_.cpus > 0 && books_->cpus + cpus > limits_.cpus + kCpuSlack) return nullptr;
  return adopt(identity, memory, cpus);
}

std::unique_ptr<Quota::Reservation> Quota::adopt(const std::string& identity, std::uint64_t memory, double cpus) {
  return std::unique_ptr<Reservation>(new Reservation(books_, identity, memory, cpus));
}

}  // namespace sandbox::server
