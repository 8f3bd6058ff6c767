#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "agent/loop.hpp"

namespace sandbox::agent {

/// Objects that are over but may be on the stack: freed by the loop soon, or together with this. A member of whoever owned
/// them, after everything their destructors use; a slice of the loop that held them itself would outlive that.
class Retired {
 public:
  explicit Retired(Loop& loop) : loop_(loop) {}
  ~Retired() {
    while (!objects_.empty()) free_all();
    if (slice_) loop_.cancel_slice(slice_);
  }
  Retired(const Retired&) = delete;

  void add(std::shared_ptr<void> object) {
    objects_.push_back(std::move(object));
    if (slice_) return;
    slice_ = loop_.defer([this] {
      slice_ = 0;
      free_all();
    });
  }

 private:
  /// Destructors may add more.
  void free_all() { const auto gone = std::exchange(objects_, {}); }

  Loop& loop_;
  std::vector<std::shared_ptr<void>> objects_;
  std::uint64_t slice_ = 0;   ///< 0: none is under way
};

}  // namespace sandbox::agent
