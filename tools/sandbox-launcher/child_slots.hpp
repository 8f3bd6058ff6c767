#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "child.hpp"
#include "core/unique_fd.hpp"
#include "recipe.hpp"

namespace sandbox::launcher {

/// Memory that is lent to children, from their clone until they have executed the agent or ended.
class ChildSlots {
 public:
  struct Slot {
    ChildState state;
    void* stack = nullptr;
    std::vector<core::UniqueFd> fds;   ///< the child's; closed here once it has a table of its own
    std::shared_ptr<Recipe> recipe;    ///< keeps what the plan points to
  };

  /// With its state as for a new child. Null without memory.
  Slot* acquire();
  /// Takes back what children no longer use; `gone(slot)` looks at each of those before.
  template <class Gone>
  void tidy(Gone&& gone) {
    for (std::size_t i = 0; i < used_.size();) {
      Slot* slot = used_[i];
      const bool is_gone = slot->state.tid.load(std::memory_order_acquire) == 0;
      if (is_gone || slot->state.own_files.load(std::memory_order_acquire)) slot->fds.clear();
      if (!is_gone) {
        ++i;
        continue;
      }
      gone(*slot);
      slot->recipe.reset();
      used_.erase(used_.begin() + static_cast<std::ptrdiff_t>(i));
      free_.push_back(slot);
    }
  }
  bool in_use() const noexcept { return !used_.empty(); }

 private:
  std::vector<std::unique_ptr<Slot>> all_;
  std::vector<Slot*> free_, used_;
};

}  // namespace sandbox::launcher
