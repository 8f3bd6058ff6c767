#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace sandbox::server {

/// How much all sandboxes together may take. Zero memory or cpus: not limited.
struct QuotaLimits {
  std::uint32_t sandboxes = 0;
  std::uint64_t memory = 0;  ///< bytes
  double cpus = 0;
};

/// Places for sandboxes, handed out before they are made, so that creations side by side cannot overshoot. One thread;
/// reservations may outlive the quota.
class Quota {
 public:
  enum class Refusal : std::uint8_t { capacity, identity };

  /// One sandbox's share. Given back by its destruction.
  class Reservation {
   public:
    ~Reservation();
    Reservation(const Reservation&) = delete;

   private:
    friend class Quota;
    struct Books {
      std::uint32_t sandboxes = 0;
      std::uint64_t memory = 0;
      double cpus = 0;
      std::map<std::string, std::uint32_t> identities;
      std::function<void()> freed;
    };
    Reservation(std::shared_ptr<Books> books, std::string identity, std::uint64_t memory, double cpus);
    std::shared_ptr<Books> books_;
    std::string identity_;
    std::uint64_t memory_;
    double cpus_;
  };

  explicit Quota(QuotaLimits limits) : limits_(limits), books_(std::make_shared<Reservation::Books>()) {}
  void set_limits(QuotaLimits limits) noexcept { limits_ = limits; }

  /// Whether one more would fit by number; `most` is what this identity may have at once.
  std::optional<Refusal> check_count(const std::string& identity, std::optional<std::uint32_t> most) const;
  /// Takes a place, without asking check_count again. Null: memory or cpus are used up.
  std::unique_ptr<Reservation> reserve(const std::string& identity, std::uint64_t memory, double cpus);
  /// The same whatever the limits say: for sandboxes that exist already.
  std::unique_ptr<Reservation> adopt(const std::string& identity, std::uint64_t memory, double cpus);

  std::uint32_t sandboxes() const noexcept { return books_->sandboxes; }
  /// Called behind each place given back, from within the destructor of its reservation; must not throw or reserve.
  void on_freed(std::function<void()> callback) { books_->freed = std::move(callback); }

 private:
  QuotaLimits limits_;
  std::shared_ptr<Reservation::Books> books_;
};

}  // namespace sandbox::server
